"""What is imported, and so how soon a command starts; `benchmarks/startup.py` has the seconds."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {
    "faiss", "langchain_text_splitters", "numpy", "scipy", "sentence_transformers", "sklearn",
    "tantivy", "torch", "transformers",
}  # fmt: skip
MODELS = {"langchain_core", "pydantic", "pydantic_core"}
HELP = """
import sys
sys.argv = ["rag", "--help"]
from rag.cli.main import main
try:
    main()
except SystemExit:
    pass
"""


def imported(code: str) -> set[str]:
    """The packages outside the standard library that are imported when the code has run."""
    code += "\nimport sys\nprint('imported:', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    (line,) = [one for one in done.stdout.splitlines() if one.startswith("imported:")]
    names = {name.partition(".")[0] for name in line.split()[1:]}
    return {name for name in names - set(sys.stdlib_module_names) if not name.startswith("_")}


def test_the_package_imports_nothing_until_it_is_used() -> None:
    assert imported("import rag") == {"rag"}


@pytest.mark.parametrize(
    ("code", "missing"), [("import rag.flow", HEAVY), (HELP, HEAVY | MODELS)], ids=["flow", "help"]
)
def test_heavy_libraries_are_imported_where_they_are_needed(code: str, missing: set[str]) -> None:
    assert imported(code) & missing == set()


def test_the_probe_sees_what_is_imported() -> None:
    assert {"numpy", "pydantic"} <= imported("def f():\n    import numpy, pydantic\nf()")
