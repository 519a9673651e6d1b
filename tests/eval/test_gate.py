"""The gate: an interval that reaches below the limit fails; a baseline fits its questions."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from rag.cli.main import app
from rag.errors import ConfigError
from rag.eval.dataset import Query
from rag.eval.gate import checks, read_baseline
from rag.eval.results import AnswerResult

QUERIES = [Query(f"q{n}", f"Question {n}?", {}, ("120 m",)) for n in range(20)]


def results(right: int, count: int = 20) -> list[AnswerResult]:
    return [
        AnswerResult(query.id, query.text, query.answers, "", containment=float(n < right))
        for n, query in enumerate(QUERIES[:count])
    ]


@pytest.mark.parametrize(
    ("before", "after", "limit", "passed"),
    [
        (15, 15, 0.0, True),
        (15, 20, 0.0, True),
        (15, 14, 0.0, False),
        (15, 14, -0.2, True),
        (15, 14, -0.05, False),  # the mean is at the limit, its interval below it
        (0, 20, 0.9, True),
        (10, 12, 0.05, False),
    ],
)
def test_the_interval_must_stay_above_the_limit(
    before: int, after: int, limit: float, passed: bool
) -> None:
    both = {"before": results(before), "after": results(after)}
    (check,) = checks(both, "containment", limit)
    assert check.pipeline == "after"
    assert check.passed is passed


def test_without_a_value_nothing_passes() -> None:
    (check,) = checks({"a": results(3), "b": results(3)}, "correctness", -1.0)
    assert not check.passed


def written(file: Path, *found: AnswerResult) -> Path:
    lines = [json.dumps({"digest": "d", "query": "q", **asdict(one)}) for one in found]
    file.write_text("\n".join(lines))
    return file


def test_a_baseline_is_read_in_the_order_of_the_questions(tmp_path: Path) -> None:
    file = written(tmp_path / "b.jsonl", *reversed(results(5)))
    assert read_baseline(file, QUERIES[:3]) == results(5, 3)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"id": "other"}, "'q0' is not in it"),
        ({"question": "Other?"}, "'q0' was another one then"),
        ({"gold": ("130 m",)}, "'q0' was another one then"),
        ({"answerable": False}, "'q0' was another one then"),
    ],
)
def test_a_baseline_of_other_questions_is_refused(
    tmp_path: Path, change: dict[str, object], says: str
) -> None:
    file = written(tmp_path / "b.jsonl", replace(results(1, 1)[0], **change))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=says):
        read_baseline(file, QUERIES[:1])


@pytest.mark.parametrize("line", ['{"id": "q0"}', "[1]", "nothing"])
def test_what_is_no_baseline_names_file_and_line(tmp_path: Path, line: str) -> None:
    file = written(tmp_path / "b.jsonl", *results(1, 1))
    file.write_text(f"{file.read_text()}\n{line}")
    with pytest.raises(ConfigError) as caught:
        read_baseline(file, QUERIES[:1])
    assert caught.value.where == f"{file}:2"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["eval", "answers", *(str(one) for one in arguments)])


def test_at_a_shell(data: Path, words: Path, tmp_path: Path) -> None:
    """The exit code is 8, and the reason stands on standard error and in JSON."""
    out = tmp_path / "out"
    given = ("--data", data, "-c", words, "--json")
    assert run(*given, "--out", out).exit_code == 0
    gate = (*given, "--baseline", out / "words.jsonl", "--fail-under")
    same = run(*gate, "0")
    assert same.exit_code == 0
    assert [row["pipeline"] for row in json.loads(same.stdout)["pipelines"]] == [
        "words before", "words",
    ]  # fmt: skip
    failed = run(*gate, "0.1")
    assert failed.exit_code == 8
    assert "words fails: containment +0.000" in failed.stderr
    assert json.loads(failed.stdout)["checks"][0]["passed"] is False


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--fail-under", "0"), "nothing to compare with"),
        (("--measure", "containement"), "no measure 'containement'"),
        (("--baseline", "gone.jsonl"), "cannot be read"),
    ],
)
def test_what_makes_no_gate(data: Path, words: Path, options: tuple[str, str], says: str) -> None:
    done = run("--data", data, "-c", words, *options)
    assert isinstance(done.exception, ConfigError)
    assert says in done.exception.what
