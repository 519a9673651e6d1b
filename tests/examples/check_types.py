"""Checks what users read, and copy, with mypy (strict) and pyright.

    python -m tests.examples.check_types

Checked are the Python blocks of README.md and docs/, the folder examples/ and the package that
`rag new operator` writes: as in an application that has this package installed, with nothing but
the checkers' own settings. Blocks of one page continue each other. Errors name the page's lines.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rag.cli.new import templates
from tests.examples.pages import PAGES, README, ROOT, python_of

BIN = Path(sys.executable).parent


def lay_out(folder: Path) -> None:
    """Fill a folder with everything that is checked."""
    for page in (README, *PAGES):
        if source := python_of(page.read_text(encoding="utf-8")):
            name = "_".join(page.relative_to(ROOT).with_suffix("").parts)
            (folder / f"{name.replace('-', '_')}.py").write_text(source, encoding="utf-8")
    # Ray is installed in an environment of its own (`make test-ray`).
    skipped = shutil.ignore_patterns("__pycache__", "handbook*", "*.egg-info", ".*", "ray")
    shutil.copytree(ROOT / "examples", folder / "examples", ignore=skipped)
    for path, text in templates("long_enough").items():
        file = folder / "new_operator" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


UNTYPED = ("django", "docx", "reportlab")
"""Libraries of the examples that have no types."""


def check(folder: Path) -> bool:
    """Run both checkers; their findings are printed. Returns whether there are none."""
    sources = [str(path.relative_to(folder)) for path in sorted(folder.rglob("src"))]
    settings = {"typeCheckingMode": "standard", "failOnWarnings": False, "extraPaths": sources}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    untyped = (f"[mypy-{name}.*]\nignore_missing_imports = True\n" for name in UNTYPED)
    (folder / "mypy.ini").write_text("\n".join(["[mypy]", *untyped]), encoding="utf-8")
    files = [str(path.relative_to(folder)) for path in sorted(folder.rglob("*.py"))]
    commands = [
        [BIN / "mypy", "--strict", "--cache-dir", ROOT / ".mypy_cache" / "types", *files],
        [BIN / "basedpyright", "--pythonpath", sys.executable],
    ]
    env = {**os.environ, "MYPYPATH": os.pathsep.join(sources)}
    # Both run, also where the first one finds something.
    codes = [subprocess.run(one, cwd=folder, env=env, check=False).returncode for one in commands]
    return not any(codes)


def main() -> None:
    """Check in a temporary folder; exit with 1 where something was found."""
    with tempfile.TemporaryDirectory(prefix="rag-types-") as scratch:
        folder = Path(scratch).resolve()
        lay_out(folder)
        sys.exit(not check(folder))


if __name__ == "__main__":
    main()
