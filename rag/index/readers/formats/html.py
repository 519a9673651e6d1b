"""Web pages: their content as Markdown, without navigation."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, TypeGuard

from langchain_core.documents import Document

from rag.errors import LoadError
from rag.index.readers.decode import refuse_binary
from rag.index.readers.file import MAX_TEXT_BYTES, File
from rag.index.readers.reader import Reader, Types, document

if TYPE_CHECKING:
    from bs4 import BeautifulSoup, Tag

LINKS = 0.6
"""A block of which so many words are links is navigation."""
KEPT = 0.3
"""Where less of a page's words would be left, its links are its content."""

_NOT_CONTENT = ("script", "style", "nav", "aside", "form", "noscript", "template", "svg", "head")
_ROLES = frozenset("navigation search complementary banner".split())  # noqa: SIM905
_CLASSES = frozenset(
    "headerlink navheader navfooter breadcrumb breadcrumbs sphinxsidebar related navpath".split()  # noqa: SIM905
)
"""Navigation as DocBook, Sphinx, Doxygen and others mark it."""
_BLOCKS = frozenset("div ul ol table tr td dl p section center h4 h5 h6 font".split())  # noqa: SIM905
_BLANK_LINES = re.compile(r"\n{3,}")
_WORD = re.compile(r"\w+")


class HtmlReader(Reader):
    """Web pages."""

    types: ClassVar[Types] = {
        "text/html": (".html", ".htm"),
        "application/xhtml+xml": (".xhtml", ".xht"),
    }
    max_bytes = MAX_TEXT_BYTES

    def read(self, file: File) -> Iterable[Document]:
        """The content of the page."""
        data = file.data()
        refuse_binary(data)
        soup = parsed(data)
        title = soup.title.get_text(" ", strip=True) if soup.title else None
        return [document(content_of(soup), title)]


def parsed(data: bytes | str) -> BeautifulSoup:
    """The tree of a page, also of one that is XML."""
    from bs4 import BeautifulSoup, XMLParsedAsHTMLWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XMLParsedAsHTMLWarning)
        return BeautifulSoup(data, "lxml")


def content_of(soup: BeautifulSoup) -> str:
    """The content of a page as Markdown, without navigation and boilerplate.

    What marks itself as navigation goes, and so do blocks that are mostly links (Kohlschütter et
    al. 2010, "Boilerplate Detection using Shallow Text Features": link density), unless little
    would be left. Code, tables and prose always stay.

    Args:
        soup: The tree, which is changed.
    """
    for tag in soup.find_all(_NOT_CONTENT):
        tag.decompose()
    # Within an article, a header holds its heading.
    for tag in soup.find_all(("header", "footer")):
        if not tag.find_parent(("article", "main")):
            tag.decompose()
    for tag in [tag for tag in soup.descendants if _marked(tag)]:
        if not tag.decomposed and not tag.find("h1"):
            tag.decompose()
    body = soup.find("main") or soup.select_one("[role=main]") or soup.body or soup
    before = _words(body)
    links = list(_link_blocks(body))
    if before - sum(map(_words, links)) >= KEPT * before:
        for tag in links:
            tag.decompose()
    return as_markdown(body)


def as_markdown(content: Tag) -> str:
    """HTML as Markdown: headings, lists, tables and code; links and images as their text.

    Raises:
        LoadError: Its elements are nested too deeply.
    """
    from markdownify import MarkdownConverter

    converter = MarkdownConverter(
        heading_style="ATX", bullets="-", strip=["a", "img"], escape_underscores=False,
        escape_asterisks=False, escape_misc=False, table_infer_header=True,
    )  # fmt: skip
    try:
        converted: str = converter.convert_soup(content)
    except RecursionError:
        raise LoadError("its elements are nested too deeply") from None
    lines = "\n".join(line.rstrip() for line in converted.split("\n"))
    return _BLANK_LINES.sub("\n\n", lines).strip() + "\n"


def _link_blocks(tag: Tag) -> Iterable[Tag]:
    """The outermost blocks that are mostly links."""
    left = [tag]
    while left:
        for child in left.pop().find_all(True, recursive=False):
            links = child.find_all("a", href=True)
            if not links:
                continue
            if child.name in _BLOCKS and not child.find(("pre", "h1", "h2", "h3")):
                words = _words(child)
                if words and sum(map(_words, links)) >= LINKS * words:
                    yield child
                    continue
            left.append(child)


def _marked(element: Any) -> TypeGuard[Tag]:
    """Whether a page marks an element as navigation, or as not to be read."""
    known = getattr(element, "attrs", None)
    if not known:
        return False
    return bool(
        known.get("role") in _ROLES
        or known.get("aria-hidden") == "true"
        or not _CLASSES.isdisjoint(known.get("class", ()))
    )


def _words(tag: Tag) -> int:
    return len(_WORD.findall(tag.get_text(" ")))
