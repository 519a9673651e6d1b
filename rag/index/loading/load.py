"""Reading a file into documents, by its type."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from langchain_core.documents import Document

from rag.errors import LoadError
from rag.index.loading import formats

Loader = Callable[[bytes], list[Document]]

LANGUAGES = {
    ".c": "c", ".cpp": "cpp", ".cs": "csharp", ".css": "css", ".go": "go", ".h": "c",
    ".hpp": "cpp", ".java": "java", ".js": "js", ".json": "json", ".jsx": "js",
    ".kt": "kotlin", ".lua": "lua", ".php": "php", ".pl": "perl", ".proto": "proto", ".py": "python",
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


def loadable(path: Path) -> bool:
    """Whether there is a loader for files that end as this one."""
    return path.suffix.lower() in LOADERS or path.suffix.lower() in LANGUAGES


def load(path: Path, data: bytes, name: str) -> list[Document]:
    """The documents in a file: one per page of a PDF, else one.

    Args:
        path: The file; its ending tells the type.
        data: Its bytes.
        name: What citations call it.

    Returns:
        Documents with `path`, `title` where there is one, `page` (from 1) and `language` (of
        code) in their metadata. HTML and DOCX become Markdown.

    Raises:
        LoadError: The file cannot be read; the reason is short, for a table.
    """
    ending = path.suffix.lower()
    language = LANGUAGES.get(ending)
    try:
        documents = formats.text(data) if language else LOADERS[ending](data)
    except LoadError:
        raise
    except Exception as error:  # the parsers below raise of every kind
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise LoadError(f"broken {ending[1:].upper()}: {reason}") from error
    if not any(document.page_content.strip() for document in documents):
        raise LoadError(
            "there is no text in it" + (" (scanned pages?)" if ending == ".pdf" else "")
        )
    for document in documents:
        document.metadata["path"] = name
        if language:
            document.metadata["language"] = language
        if not document.metadata.get("title"):
            document.metadata["title"] = _title(documents[0].page_content, path, ending)
    return documents


def _title(text: str, path: Path, ending: str) -> str:
    """A document's first heading, or its file's name."""
    if LOADERS.get(ending) in (formats.markdown, formats.html, formats.docx):
        for line in text.splitlines():
            if line.startswith("#"):
                return line.strip("# ").strip() or path.stem
    return path.stem
