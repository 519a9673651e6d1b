"""Reading a file into documents, by its type."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from langchain_core.documents import Document

from rag.errors import LoadError
from rag.index.readers import formats
from rag.text.surrogates import escape_surrogates

Loader = Callable[[bytes], list[Document]]

LANGUAGES = {
    ".c": "c", ".cc": "cpp", ".cpp": "cpp", ".cs": "csharp", ".css": "css", ".go": "go", ".h": "c",
    ".hpp": "cpp", ".java": "java", ".js": "js", ".json": "json", ".jsx": "js", ".kt": "kotlin",
    ".lua": "lua", ".mjs": "js", ".php": "php", ".pl": "perl", ".proto": "proto", ".py": "python",
    ".r": "r", ".rb": "ruby", ".rs": "rust", ".scala": "scala", ".sh": "bash", ".sql": "sql",
    ".swift": "swift", ".toml": "toml", ".ts": "ts", ".tsx": "ts", ".yaml": "yaml", ".yml": "yaml",
}  # fmt: skip
"""Ending to language, of source code."""

LOADERS: dict[str, Loader] = {
    ".csv": formats.table,
    ".docx": formats.docx,
    ".htm": formats.html,
    ".html": formats.html,
    ".jsonl": formats.records,
    ".markdown": formats.markdown,
    ".md": formats.markdown,
    ".pdf": formats.pdf,
    ".rst": formats.text,
    ".tsv": formats.table,
    ".txt": formats.text,
}
"""Ending to loader, of everything else."""

_HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*\s*$", re.MULTILINE)
_WITH_HEADINGS = (formats.markdown, formats.html, formats.docx)


def loadable(path: Path) -> bool:
    """Whether there is a loader for files that end as this one."""
    return path.suffix.lower() in LOADERS or path.suffix.lower() in LANGUAGES


def load(path: Path, data: bytes, name: str) -> list[Document]:
    """The documents in a file: one per page of a PDF, else one.

    Args:
        path: The file; its suffix, one that is `loadable`, says the type.
        data: Its bytes.
        name: What citations call it.

    Returns:
        Documents with `path`, `title`, `page` (of a PDF, from 1) and `language` (of code) in
        their metadata. HTML and DOCX become Markdown.

    Raises:
        LoadError: The file cannot be read; the reason is short, for a table.
    """
    ending = path.suffix.lower()
    language = LANGUAGES.get(ending)
    try:
        documents = formats.text(data) if language else LOADERS[ending](data)
    except LoadError as error:
        raise LoadError(error.what, where=name) from error
    except Exception as error:  # the parsers below raise of every kind
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise LoadError(f"broken {ending[1:].upper()}: {reason}", where=name) from error
    if not any(document.page_content.strip() for document in documents):
        hint = " (scanned pages?)" if ending == ".pdf" else ""
        raise LoadError(f"there is no text in it{hint}", where=name)
    title = path.name if language else _title(documents[0], path, ending)
    for document in documents:
        # Lone surrogates, from file names and JSON, are no Unicode to tokenizers and databases.
        document.page_content = escape_surrogates(document.page_content)
        document.metadata |= {"path": escape_surrogates(name), "title": escape_surrogates(title)}
        if language:
            document.metadata["language"] = language
    return documents


def _title(document: Document, path: Path, ending: str) -> str:
    """What the format's reader found, the first heading, or the file's name."""
    found = str(document.metadata.get("title", ""))
    if not found and LOADERS[ending] in _WITH_HEADINGS:
        heading = _HEADING.search(document.page_content)
        found = heading.group(1) if heading else ""
    return found or path.stem
