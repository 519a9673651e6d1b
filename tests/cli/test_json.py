"""Where `--json` is offered, standard output holds JSON or nothing."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from rag.cli.output import print_json
from tests.cli.command import _here
from tests.cli.test_help import COMMANDS

SLOW = {("calibrate", "runtime"), ("train", "reader")}
"""Open a model before anything can be wrong."""
OFFERED = {
    path: command
    for path, command in COMMANDS.items()
    if path not in SLOW and any("--json" in one.opts for one in command.params)
}


@pytest.mark.parametrize("path", OFFERED, ids=" ".join)
def test_standard_output_holds_json_and_nothing_else(path: tuple[str, ...], tmp_path: Path) -> None:
    """In an empty folder, with a word for each argument and option that must be given."""
    words: list[str] = []
    for one in OFFERED[path].params:
        if one.param_type_name == "argument" and one.required:
            words.append("nothing")
        elif one.required:
            words += [one.opts[0], "name=nothing"]
    code, out, err = _here((*path, *words, "--json"), tmp_path, "")
    assert code in (0, 2, 3, 4, 5), err
    assert "Traceback" not in err
    assert out or code == 2, err
    if out:
        json.loads(out)


@pytest.mark.parametrize(("encoding", "escaped"), [("cp1252", True), ("utf-8", False)])
def test_letters_that_the_output_lacks_are_escaped(
    encoding: str, escaped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(data, encoding=encoding))
    print_json({"name": "東京"})
    sys.stdout.flush()
    assert (b"\\u6771" in data.getvalue()) == escaped
    assert json.loads(data.getvalue().decode(encoding)) == {"name": "東京"}
