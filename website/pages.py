"""Puts the site's pages together: those of docs/, those at the root, and the reference.

    python -m website.pages FOLDER

Links between pages are made to fit. A file that is as it was is not written again, so that a
server that watches the folder does not build for nothing.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parents[1]
AT_THE_ROOT = {
    "ARCHITECTURE.md": "project/architecture.md",
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
}
_LINK = re.compile(r"(!?\[[^]]*\]\()([^)\s#]+)(#[^)\s]*)?(\))")
_FENCE = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)


def sources() -> dict[str, str]:
    """Path in the repository to path in the site, of all pages that are written by hand."""
    docs = {
        f"docs/{name}": name
        for page in sorted((ROOT / "docs").rglob("*.md"))
        if (name := page.relative_to(ROOT / "docs").as_posix())
    }
    return {**AT_THE_ROOT, **docs}


def linked(text: str, source: str, places: dict[str, str]) -> str:
    """A page whose links to files of the repository lead to their places in the site.

    Args:
        text: The page.
        source: Its path in the repository.
        places: Path in the repository to path in the site, of pages and pictures.

    Raises:
        ValueError: A link leads to nothing that the site has.
    """
    here = PurePosixPath(source).parent

    def moved(link: re.Match[str]) -> str:
        before, target, anchor, end = link[1], link[2], link[3] or "", link[4]
        if re.match(r"[a-z]+:", target):
            return link[0]
        path = os.path.normpath(here / target)
        if path not in places:
            raise ValueError(f"{source}: the link {target} leads to nothing in the site")
        start = PurePosixPath(places[source]).parent
        return f"{before}{os.path.relpath(places[path], start)}{anchor}{end}"

    parts = _FENCE.split(text)
    parts[::2] = [_LINK.sub(moved, part) for part in parts[::2]]
    return "".join(parts)


def reference() -> dict[str, Callable[[], str]]:
    """Path in the site to what makes that page of the reference."""
    from website.reference import classes, commands, operators

    by_module, by_package = operators.pages(), classes.pages()
    return {
        "reference/commands.md": commands.page,
        "reference/flows.md": operators.flows,
        **{f"reference/operators/{name}.md": (lambda text=text: text)
           for name, text in by_module.items()},
        **{f"reference/python/{name}.md": (lambda text=text: text)
           for name, text in by_package.items()},
    }  # fmt: skip


def assemble(folder: Path) -> list[str]:
    """Fill a folder with all pages and pictures; what else was in it goes.

    Returns:
        The paths of the pages, relative to the folder.
    """
    pictures = sorted((ROOT / "docs").rglob("images/*"))
    pages = sources()
    docs = ROOT / "docs"
    drawn = {f"docs/{one.relative_to(docs).as_posix()}": one for one in pictures}
    places = {**pages, **{name: name.removeprefix("docs/") for name in drawn}}
    texts = {
        place: linked((ROOT / source).read_text(encoding="utf-8"), source, places)
        for source, place in pages.items()
    }
    texts |= {place: make() for place, make in reference().items()}
    for place, text in texts.items():
        _write(folder / place, text.encode("utf-8"))
    for name, picture in drawn.items():
        _write(folder / places[name], picture.read_bytes())
    wanted = {folder / place for place in (*texts, *places.values())}
    for old in [one for one in folder.rglob("*") if one.is_file() and one not in wanted]:
        if "assets" not in old.relative_to(folder).parts:  # scripts and styles of the site
            old.unlink()
    return sorted(texts)


def _write(file: Path, content: bytes) -> None:
    if file.exists() and file.read_bytes() == content:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def main() -> None:
    """Assemble the pages, and put the site's own style beside them."""
    folder = Path(sys.argv[1])
    pages = assemble(folder)
    assets = folder / "assets"
    assets.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "website" / "site.css", assets / "site.css")
    print(f"{len(pages)} pages in {folder}")


if __name__ == "__main__":
    main()
