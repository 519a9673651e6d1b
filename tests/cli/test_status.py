"""The line that says what goes on."""

from __future__ import annotations

import io
import sys

import pytest

from rag.cli.status import Status


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_it_is_written_over_and_taken_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with Status() as status:
        status("loading ...")
        status("dense")
    written = "\rloading ..." + "\rdense" + " " * 6 + "\r" + " " * 5 + "\r"
    assert terminal.getvalue() == written


def test_nothing_is_written_where_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    monkeypatch.setattr(sys, "stderr", file)
    with Status() as status:
        status("loading ...")
    assert file.getvalue() == ""


def test_it_may_be_unwanted_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with Status(shown=False) as status:
        status("loading ...")
    assert terminal.getvalue() == ""
