"""Links of the pages lead somewhere: within the repository to files and headings that exist.

Of other hosts only the form of an address is checked: tests use no network.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.examples.pages import ROOT, TEXTS, prose_of

_LINK = re.compile(r"\]\(([^)\s]+)\)|<(https?://[^>]+)>")
_CODE = re.compile(r"`[^`\n]*`")


def links_of(page: Path) -> list[str]:
    """Targets of the page's links and pictures, without what only looks like one in code."""
    text = _CODE.sub("", prose_of(page.read_text(encoding="utf-8")))
    return [one or other for one, other in _LINK.findall(text)]


def anchors_of(page: Path) -> set[str]:
    """The names that headings have in links: as GitHub and mkdocs make them."""
    found: dict[str, int] = {}
    names = set()
    text = prose_of(page.read_text(encoding="utf-8"))
    for heading in re.findall(r"^#+ +(.*)$", text, re.MULTILINE):
        name = re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
        names.add(f"{name}-{found[name]}" if name in found else name)
        found[name] = found.get(name, 0) + 1
    return names


def wrong(link: str, page: Path) -> str | None:
    """What is wrong with a link of a page."""
    parts = urlsplit(link)
    if parts.scheme:
        good = parts.scheme in ("http", "https") and re.fullmatch(r"[\w.-]+(:\d+)?", parts.netloc)
        return None if good else "no address"
    target = (page.parent / parts.path).resolve() if parts.path else page
    if not target.exists():
        return "no such file"
    if parts.fragment and parts.fragment not in anchors_of(target):
        return "no such heading"
    return None


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_they_lead_somewhere(page: Path) -> None:
    found = {link: reason for link in links_of(page) if (reason := wrong(link, page))}
    assert found == {}


@pytest.mark.parametrize(
    ("link", "reason"),
    [
        ("#one", None), ("#two-1", None), ("#three", "no such heading"),
        ("gone.md", "no such file"),
        ("../elsewhere.md", "no such file"), ("https://arxiv.org/abs/1", None),
        ("http//x", "no such file"), ("https://", "no address"), ("ftp://x", "no address"),
    ],
)  # fmt: skip
def test_a_broken_link_is_seen(link: str, reason: str | None, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One\n\n## Two\n\n## Two\n\n```\n# Three\n```\n")
    assert wrong(link, page) == reason


def test_every_page_can_be_reached_from_the_home_page() -> None:
    home = ROOT / "docs" / "README.md"
    reached, waiting = {home}, [home]
    while waiting:
        page = waiting.pop()
        for link in links_of(page):
            target = (page.parent / link.partition("#")[0]).resolve()
            if target.suffix == ".md" and target not in reached:
                reached.add(target)
                waiting.append(target)
    assert {page for page in TEXTS if page not in reached} == {ROOT / "README.md"}


def test_pictures_fetch_nothing() -> None:
    for picture in (ROOT / "docs").rglob("*.svg"):
        addresses = set(re.findall(r"https?://[^\"')]+", picture.read_text(encoding="utf-8")))
        assert addresses <= {"http://www.w3.org/2000/svg"}
