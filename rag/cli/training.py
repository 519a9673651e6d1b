"""What the commands of `rag train` share: options, the questions, the table of what was gained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rag.eval.corpus import Progress
    from rag.eval.dataset import Dataset
    from rag.flow import Flow
    from rag.train.asked import Questions
    from rag.train.gate import Verdict
    from rag.train.ranker import RankerSettings

Out = Annotated[
    Path,
    typer.Option(
        "--out", help="Folder of the trained model. OUT.training holds what is under way."
    ),
]
Base = Annotated[str, typer.Option("--model", help="The model that it is trained from.")]
Seed = Annotated[int, typer.Option("--seed", help="Of everything that is drawn at random.")]
Rate = Annotated[float | None, typer.Option("--rate", help="Learning rate.", show_default=False)]
Epochs = Annotated[int, typer.Option("--epochs", min=1, help="Times that all is gone through.")]
Licence = Annotated[str, typer.Option("--licence", help="Of the data, for the model's card.")]
Force = Annotated[
    bool, typer.Option("--force", help="Save it also if it is not better; its card says so.")
]
Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        help="Questions with judged documents: a folder in BEIR's format; or a file of questions "
        "with `passages`, or with `documents` of the index of the pipeline -c.",
        show_default=False,
    ),
]
Make = Annotated[
    int,
    typer.Option(
        "--make",
        min=0,
        help="Without --data: so many questions, made from the index of the pipeline -c by its "
        "language model, as `rag eval make` does. They are kept in OUT.questions.jsonl.",
    ),
]
Test = Annotated[
    list[Path] | None,
    typer.Option(
        "--test",
        help="Further questions that are only measured, as --data; what is gained there decides "
        "too; repeatable.",
        show_default=False,
    ),
]
Pipeline = Annotated[
    str | None,
    typer.Option(
        "--config",
        "-c",
        help="Pipeline whose index settings split the documents, and whose index a file of "
        "questions is about.",
        show_default=False,
    ),
]
HeldOut = Annotated[
    int,
    typer.Option(
        "--held-out", min=1, help="Questions of --data that are measured, at most; never over half."
    ),
]
Batch = Annotated[int, typer.Option("--batch", min=2, help="Triples for each step.")]
Tokens = Annotated[
    int, typer.Option("--tokens", min=8, help="Of a text that are read while it is trained.")
]
Negatives = Annotated[
    int, typer.Option("--negatives", min=1, help="Triples of each question, with as many texts "
                      "that do not answer it.")
]  # fmt: skip
Depth = Annotated[
    int,
    typer.Option(
        "--depth", min=2, help="Texts that the search finds, from which negatives are drawn."
    ),
]
TEACHERS = (
    "Whose margins are learned: rerank (the operator), likelihood:MODEL (the question after the "
    "text, by a language model), or a cross-encoder."
)


@dataclass(frozen=True)
class Options:
    """What all commands take that train a model which finds or ranks; each as its option."""

    out: Path
    data: Path | None
    make: int
    test: Sequence[Path] | None
    config: str | None
    held_out: int
    seed: int
    licence: str
    force: bool
    as_json: bool


@dataclass(frozen=True)
class Given:
    """What was given to a training.

    Attributes:
        questions: Those to learn from, and those that are measured.
        index: What the pipeline says of its index.
        about: For the card.
    """

    questions: Questions
    index: Any
    about: dict[str, Any]


def train(options: Options, settings: RankerSettings) -> None:
    """Train a model that finds or ranks, and print what was measured.

    Args:
        options: What was given.
        settings: What is trained; its index is that of the pipeline.

    Raises:
        ConfigError, ModelError, GateError: See `given` and `train_ranker`.
    """
    from rag.cli.evaluating import progress_bar
    from rag.train.ranker import train_ranker

    settings.require()
    with progress_bar() as progress:
        found = given(options, progress, chunks=settings.chunks)
        verdicts = train_ranker(
            found.questions, replace(settings, index=found.index), options.out, found.about,
            licence=options.licence, force=options.force, report=progress,
        )  # fmt: skip
    print_verdicts(options.out, verdicts, as_json=options.as_json)


def given(options: Options, progress: Progress, *, chunks: bool) -> Given:
    """Read the questions, or have them made.

    Args:
        options: What was given.
        progress: Called while questions are made.
        chunks: Whether questions about an index get its chunks as a corpus, so that they can be
            embedded anew.

    Raises:
        ConfigError: There are no questions, they cannot be read, or they are too few.
    """
    from contextlib import ExitStack

    from rag.cli.config import load
    from rag.errors import ConfigError
    from rag.eval.loading import load_dataset
    from rag.train.asked import questions, with_corpus

    data, config, make = options.data, options.config, options.make
    if (data is None) == (not make):
        fix = "give --data DATA; or --make COUNT with -c PIPELINE, whose index has the documents"
        raise ConfigError("questions come from one of both", where="--data, --make", fix=fix)
    with ExitStack() as stack:
        flow = None if config is None and not make else stack.enter_context(load(config))
        path = data if data is not None else _made(flow, options, progress)
        read = [load_dataset(one) for one in (path, *(options.test or ()))]
        if chunks:
            read = [with_corpus(one, _index_of(flow, one)) for one in read]
        spec = None if flow is None else _index_spec(flow)
    about = {
        "data": read[0].name, "tested on": [one.name for one in read[1:]],
        "made by": f"{config}" if make else "",
    }  # fmt: skip
    asked = questions(read[0], read[1:], held_out=options.held_out, seed=options.seed)
    return Given(asked, spec or {"path": "./index"}, about)


def _index_spec(flow: Flow) -> Any:
    """What the pipeline says of its index; a folder as it is found from here."""
    spec = flow.resources.specs.get("index")
    given = {"path": spec} if isinstance(spec, str) else spec
    if not isinstance(given, dict) or "://" in str(given.get("path", "")):
        return spec
    return {**given, "path": str((flow.resources.base / given.get("path", "index")).resolve())}


def _index_of(flow: Flow | None, data: Dataset) -> Any:
    from rag.index import Index

    if flow is None or data.documents:
        return None
    return flow.resources.get("index", Index)


def _made(flow: Flow | None, options: Options, progress: Progress) -> Path:
    """Questions that the pipeline's language model makes, kept beside the model."""
    from functools import partial

    from rag.eval.making.make import Maker, make_questions
    from rag.paths import writable_file

    assert flow is not None  # noqa: S101 - loaded where questions are made
    file = options.out.with_name(f"{options.out.name}.questions.jsonl")
    writable_file(file, "--out")
    flow.check_resources()
    maker = Maker(flow.resources, options.seed)
    make_questions(maker, {"single": options.make}, file, partial(progress, "questions"))
    return file


def print_verdicts(out: Path, verdicts: Sequence[Verdict], *, as_json: bool) -> None:
    """What was measured, as a table or as JSON."""
    from rag.cli.output import print_json

    rows = [one.row() for one in verdicts]
    if as_json:
        print_json({"out": str(out), "results": rows})
        return
    from rag.cli.evaluating import print_table
    from rag.eval.tables import Table

    cells = tuple(tuple(str(one) for one in row.values()) for row in rows)
    print_table(Table(tuple(rows[0]), cells))
    typer.echo(f"saved in {out}")
