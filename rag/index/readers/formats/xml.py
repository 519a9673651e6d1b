"""XML: documents such as DocBook, and data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

from langchain_core.documents import Document

from rag.errors import LoadError
from rag.index.readers.file import MAX_TEXT_BYTES, File
from rag.index.readers.formats.html import content_of, parsed
from rag.index.readers.packed import xml_of
from rag.index.readers.reader import Reader, Types, document

_TITLES = frozenset("title head heading".split())  # noqa: SIM905
_CODE = frozenset("programlisting screen literallayout synopsis pre code listing".split())  # noqa: SIM905
_INLINE_IN = frozenset("para p simpara term td entry li title".split())  # noqa: SIM905
"""What holds text, whatever is in it."""


class XmlReader(Reader):
    """XML as Markdown: titles as headings, text as paragraphs, records as `name: value`.

    No entity is expanded but XML's own, and nothing else is loaded.
    """

    types: ClassVar[Types] = {
        "application/xml": (".xml", ".docbook", ".dbk"),
        "image/svg+xml": (".svg",),
    }
    max_bytes = MAX_TEXT_BYTES

    def read(self, file: File) -> Iterable[Document]:
        """The text of all elements, in their order."""
        data = file.data()
        root = xml_of(data)
        if root is None:
            raise LoadError("it is no XML")
        if _name(root) == "html":
            soup = parsed(data)
            title = soup.title.get_text(" ", strip=True) if soup.title else None
            return [document(content_of(soup), title)]
        title = next((_inline(one) for one in root.iter() if _name(one) in _TITLES), None)
        return [document("\n\n".join(filter(None, _blocks(root, 0))) + "\n", title)]


def _name(element: Any) -> str:
    tag = element.tag
    return tag.rpartition("}")[2].lower() if isinstance(tag, str) else ""


def _blocks(element: Any, depth: int) -> Iterator[str]:
    """Paragraphs of an element.

    Args:
        element: Not one of a text.
        depth: Of headings above it.
    """
    children = [child for child in element if _name(child)]
    if _name(element) in _CODE:
        text = "".join(element.itertext()).strip("\n")
        yield f"```\n{text}\n```" if text.strip() else ""
    elif not children or _name(element) in _INLINE_IN or _mixed(element):
        yield _inline(element) or _attributes(element)
    elif len(children) > 1 and all(map(_field, children)):
        yield "\n".join(_record(child) for child in children)
    else:
        titled = any(_name(child) in _TITLES for child in children)
        depth += titled
        yield _attributes(element)
        for child in children:
            if _name(child) in _TITLES and (text := _inline(child)):
                yield f"{'#' * min(depth, 6)} {text}"
            else:
                yield from _blocks(child, depth)


def _mixed(element: Any) -> bool:
    """Whether text stands between its children."""
    texts = [element.text, *(child.tail for child in element)]
    return any(text and text.strip() for text in texts)


def _field(element: Any) -> bool:
    return len(element) == 0 and _name(element) not in _TITLES | _CODE | _INLINE_IN


def _record(element: Any) -> str:
    name, text = _name(element), _inline(element)
    more = _attributes(element)
    return f"{name}: {', '.join(filter(None, (text, more)))}"


def _attributes(element: Any) -> str:
    """What an element says without text; ids, links and namespaces say nothing to a reader."""
    plain = {
        key: value
        for key, value in element.attrib.items()
        if "}" not in key and key not in ("id", "href", "class", "style", "d", "transform")
    }
    return ", ".join(f"{key}: {value}" for key, value in plain.items() if value.strip())


def _inline(element: Any) -> str:
    return " ".join("".join(element.itertext()).split())
