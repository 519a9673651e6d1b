"""Files of questions: JSONL, JSON and CSV, with our own names of fields or those of RAGAS."""

from __future__ import annotations

import ast
import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field

from rag.errors import ConfigError
from rag.eval.dataset import Dataset, Query
from rag.eval.rows import Ids, json_rows, validated

EXAMPLE = '{"question": "How long is the north lock?", "answers": ["120 m"]}'
UNANSWERABLE = "none"
"""The kind of questions without an answer."""


def _listed(value: Any) -> Any:
    """A list: of JSON or Python as a table's cell holds it, or of the one text."""
    if value is None:
        return None
    if isinstance(value, str):
        text = value.strip()
        if text.startswith("["):
            for parse in (json.loads, ast.literal_eval):
                try:
                    return list(parse(text))
                except (ValueError, SyntaxError, TypeError):
                    continue
        return [text] if text else []
    return value


Texts = Annotated[list[str] | None, BeforeValidator(_listed)]


def _named(*names: str) -> AliasChoices:
    return AliasChoices(*names)


class _Row(BaseModel):
    """A question. RAGAS 0.2 calls the fields as the second name, 0.1 as the third."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    id: str = Field(default="", validation_alias=_named("id", "_id"))
    question: str = Field(
        min_length=1, validation_alias=_named("question", "user_input", "query", "text")
    )
    answers: Texts = Field(
        default=None,
        validation_alias=_named("answers", "reference", "ground_truth", "ground_truths"),
    )
    passages: Texts = Field(default=None, validation_alias=_named("passages", "reference_contexts"))
    documents: Texts = None
    kind: str = Field(default="", validation_alias=_named("kind", "synthesizer_name"))


def read_questions(file: Path) -> Dataset:
    """Read questions, which are asked over the indexes that the pipelines name.

    A row has `question`, and what is known of its answer: `answers` (short ones that count as
    right), `passages` (texts that it follows from) and `documents` (sources or paths of those that
    are needed). `id` and `kind` are optional. `"answers": []`, or the kind `none`, says that the
    question cannot be answered. RAGAS's names are read too: `user_input`, `reference`,
    `reference_contexts`; what its rows hold of an evaluated system (`response`,
    `retrieved_contexts`) is ignored. In CSV a list is written as JSON.

    Args:
        file: `.jsonl`; `.json`, an array of rows; or `.csv`, with a header line.

    Raises:
        ConfigError: The file is none of these; the error names file and line.
    """
    ids = Ids(file)
    queries: list[Query] = []
    for number, row in validated(file, _rows(file), _Row, EXAMPLE):
        name = row.id or f"q{len(queries) + 1}"
        ids.use(name, number)
        answers = tuple(one for one in row.answers or () if one.strip())
        unanswerable = row.kind == UNANSWERABLE or (row.answers is not None and not answers)
        if row.kind == UNANSWERABLE and answers:
            raise ConfigError(
                f"a question of the kind {UNANSWERABLE!r} has answers",
                where=f"{file}:{number}", fix="leave the answers empty, or give another kind",
            )  # fmt: skip
        queries.append(
            Query(
                id=name,
                text=row.question,
                relevant=dict.fromkeys(row.documents or (), 1),
                answers=answers,
                answerable=not unanswerable,
                passages=tuple(row.passages or ()),
                kind=row.kind,
            )
        )
    return Dataset(file.name, [], queries)


def _rows(file: Path) -> Iterator[tuple[int, Any]]:
    match file.suffix.lower():
        case ".csv":
            return _csv_rows(file)
        case ".json":
            return _array_rows(file)
        case _:
            return json_rows(file, EXAMPLE)


def _csv_rows(file: Path) -> Iterator[tuple[int, Any]]:
    """Line and cells of each row, by the names in the header line."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines, strict=True)
            for row in reader:
                if None in row or None in row.values():
                    raise ConfigError(
                        f"it has {'more' if None in row else 'fewer'} cells than the header",
                        where=f"{file}:{reader.line_num}",
                        fix="write a text with a comma or a line break in double quotes",
                    )
                # An empty cell says nothing, but for answers: there are none.
                yield reader.line_num, {k: v for k, v in row.items() if v or k in _ANSWERS}
    except csv.Error as error:
        where = f"{file}:{reader.line_num + 1}"
        raise ConfigError(f"not CSV: {error}", where=where) from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            "it is not UTF-8 text", where=str(file), fix="save it as UTF-8"
        ) from error
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=str(file)) from error


_ANSWERS = ("answers", "reference", "ground_truth", "ground_truths")


def _array_rows(file: Path) -> Iterator[tuple[int, Any]]:
    """Number, from 1, and value of each element of the array."""
    try:
        rows = json.loads(file.read_bytes())
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=str(file)) from error
    except ValueError as error:
        line = getattr(error, "lineno", 1)
        raise ConfigError(f"not JSON: {error}", where=f"{file}:{line}") from error
    if not isinstance(rows, list):
        raise ConfigError(
            "it is not an array of questions", where=str(file), fix=f"write [{EXAMPLE}]"
        )
    return enumerate(rows, start=1)
