"""Builds what is released, checks it, and lays it out as a package index in a folder.

    python packages/release.py dist      # needs the packages build and twine

In the folder are then wheel and source distribution of both packages, and `simple/`, which pip and
uv take as an index: `pip install --extra-index-url file://$PWD/dist/simple modular-rag`.
"""

import hashlib
import html
import re
import subprocess
import sys
import tarfile
import zipfile
from email.parser import HeaderParser
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = (ROOT, ROOT / "packages" / "smollm2")
LINKS = {"rag/operators", "rag/pipelines"}
"""Links to folders beside `rag/`, whose files a distribution has here and not there."""


def main(folder: Path) -> None:
    """Build, check and lay out.

    Args:
        folder: Where to; wheels and source distributions that are there are removed first.

    Raises:
        SystemExit: A build failed, or a file is missing from what was built.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in (*folder.glob("*.whl"), *folder.glob("*.tar.gz")):
        old.unlink()
    for package in PACKAGES:
        _run("build", "--quiet", "--outdir", str(folder), str(package))
    files = sorted((*folder.glob("*.whl"), *folder.glob("*.tar.gz")))
    _run("twine", "check", "--strict", *map(str, files))
    (wheel,) = folder.glob("modular_rag-*.whl")
    (source,) = folder.glob("modular_rag-*.tar.gz")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, text=True, stdout=-1)
    tracked = in_distribution(listed.stdout.splitlines())
    for file, wanted in ((wheel, {x for x in tracked if x.startswith("rag/")}), (source, tracked)):
        if missing := sorted(wanted - names_in(file)):
            sys.exit(f"{file.name} lacks {', '.join(missing)}. Fix: pyproject.toml, MANIFEST.in")
    write_index(folder / "simple", files)
    print("\n".join(f"{file.stat().st_size:>12,} {file}" for file in files))


def in_distribution(tracked: list[str]) -> set[str]:
    """The repository's files by their names in a distribution, which has folders for links."""
    moved = (f"rag/{x}" if x.startswith(("operators/", "pipelines/")) else x for x in tracked)
    return set(moved) - LINKS


def names_in(file: Path) -> set[str]:
    """The files in a wheel or a source distribution, without the latter's top folder."""
    if file.suffix == ".whl":
        with zipfile.ZipFile(file) as wheel:
            return set(wheel.namelist())
    with tarfile.open(file) as source:
        return {one.name.partition("/")[2] for one in source if one.isfile()}


def write_index(folder: Path, files: list[Path]) -> None:
    """Write the pages of a simple index (PEP 503), which link to the files where they are.

    Args:
        folder: The index. The files lie in the folder above it.
        files: Wheels and source distributions.
    """
    pages: dict[str, list[str]] = {}
    for file in files:
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        python = html.escape(_metadata(file)["Requires-Python"])
        link = f"../../{file.name}#sha256={digest}"
        line = f'<a href="{link}" data-requires-python="{python}">{file.name}</a><br>'
        pages.setdefault(_normal(_metadata(file)["Name"]), []).append(line)
    for name, lines in pages.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "index.html").write_text(_page(lines), encoding="utf-8")
    links = [f'<a href="{name}/">{name}</a><br>' for name in sorted(pages)]
    (folder / "index.html").write_text(_page(links), encoding="utf-8")


def _metadata(file: Path) -> dict[str, str]:
    if file.suffix == ".whl":
        with zipfile.ZipFile(file) as wheel:
            (name,) = [one for one in wheel.namelist() if one.endswith(".dist-info/METADATA")]
            text = wheel.read(name).decode()
    else:
        with tarfile.open(file) as source:
            (member,) = [one for one in source if re.fullmatch(r"[^/]+/PKG-INFO", one.name)]
            stream = source.extractfile(member)
            text = stream.read().decode() if stream else ""
    return dict(HeaderParser().parsestr(text).items())


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _page(lines: list[str]) -> str:
    return "<!DOCTYPE html>\n<html><body>\n" + "\n".join(lines) + "\n</body></html>\n"


def _run(module: str, *arguments: str) -> None:
    if subprocess.run([sys.executable, "-m", module, *arguments], check=False).returncode:
        sys.exit(f"{module} failed")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
