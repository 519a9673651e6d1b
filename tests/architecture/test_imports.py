"""No circle of imports, however late; rooms in order; modules that fit on a few screens."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.imports import FOLDERS, ROOT, circles, imports, modules, shown

LINES = 350
LINT_IMPORTS = Path(sys.executable).parent / "lint-imports"


def test_no_module_imports_itself_by_way_of_others() -> None:
    found = circles(imports(modules()))
    assert not found, "\n".join(["circles of imports:", *map(shown, found)])


def test_every_room_imports_only_rooms_below_it() -> None:
    done = subprocess.run(
        [str(LINT_IMPORTS), "--no-cache"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_module_is_longer_than_a_reader_can_hold() -> None:
    counts = {
        str(file.relative_to(ROOT)): len(file.read_text(encoding="utf-8").splitlines())
        for file in modules().values()
    }
    long = [f"{name}: {count} lines" for name, count in counts.items() if count > LINES]
    assert not long, "\n".join([f"modules of more than {LINES} lines:", *long])


def package(folder: Path, **sources: str) -> dict[str, Path]:
    """A package `p` of these modules."""
    folder.mkdir()
    for name, source in sources.items():
        (folder / f"{name}.py").write_text(source)
    return modules({"p": folder})


@pytest.mark.parametrize(
    "late",
    [
        "from p import a",
        "import p.a",
        "from p.a import f",
        "from . import a",
        "from .a import f",
        "def f():\n    from p.a import f",
        "class C:\n    def f(self):\n        import p.a",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from p.a import f",
        "try:\n    import p.a\nexcept ImportError:\n    pass",
    ],
)
def test_a_circle_is_found_wherever_an_import_is_written(late: str, tmp_path: Path) -> None:
    known = package(tmp_path / "p", a="import p.b", b="from p.c import x", c=late, d="import p.a")
    (circle,) = circles(imports(known))
    line = len(late.splitlines()) - 2 * ("except" in late)
    assert shown(circle) == f"p.a:1 -> p.b:1 -> p.c:{line} -> p.a"


def test_imports_in_one_direction_are_no_circle(tmp_path: Path) -> None:
    sources = {"__init__": "", "a": "from p import b\nimport p.c", "b": "from p import c", "c": ""}
    assert circles(imports(package(tmp_path / "p", **sources))) == []


def test_a_front_door_may_not_be_used_from_behind(tmp_path: Path) -> None:
    known = package(tmp_path / "p", __init__="from p.a import f", a="from p import g")
    (circle,) = circles(imports(known))
    assert shown(circle) == "p:1 -> p.a:1 -> p"


def test_the_rooms_that_are_links_are_read_once() -> None:
    files = list(modules().values())
    assert len(files) == len({file.resolve() for file in files}) > 200
    assert {name.partition(".")[0] for name in FOLDERS} == {"rag"}


def test_an_arrow_up_is_found(tmp_path: Path) -> None:
    """The contract itself is read by import-linter: one import upwards must break it."""
    for name in ("rag", "operators", "pipelines"):
        shutil.copytree(
            ROOT / name, tmp_path / name, symlinks=True, ignore=shutil.ignore_patterns("*.pyc")
        )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    file = tmp_path / "rag" / "errors.py"
    file.write_text(file.read_text() + "\n\ndef _late():\n    from rag.operators import BM25\n")
    done = subprocess.run(
        [str(LINT_IMPORTS), "--no-cache"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 1
    assert "rag.errors -> rag.operators" in done.stdout
