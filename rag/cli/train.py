"""`rag train`: models that learn from the user's own data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rag.cli import train_rankings
from rag.cli.config import Json
from rag.cli.training import Base, Epochs, Force, Licence, Out, Rate, Seed

if TYPE_CHECKING:
    from rag.eval.dataset import Dataset

app = typer.Typer(help="Train models on your own data.", no_args_is_help=True)

DataSets = Annotated[
    list[Path] | None,
    typer.Option(
        "--data",
        help="Questions with answers: a folder in BEIR's format, or a file of questions; "
        "repeatable.",
        show_default=False,
    ),
]

app.command()(train_rankings.embedder)
app.command()(train_rankings.reranker)
app.command()(train_rankings.aggregate)


@app.command()
def reader(
    out: Out,
    model: Base = "smollm2-135m-instruct",
    data: DataSets = None,
    texts: Annotated[
        list[Path] | None,
        typer.Option(
            "--texts",
            help="Files, folders or corpora that questions are made from by rules; repeatable.",
            show_default=False,
        ),
    ] = None,
    invented: Annotated[
        int, typer.Option("--invented", min=0, help="Questions about documents that do not exist.")
    ] = 2400,
    most: Annotated[
        int, typer.Option("--most", min=1, help="Questions from each data set, and from all texts.")
    ] = 1000,
    held_out: Annotated[
        int, typer.Option("--held-out", min=1, help="Questions of each origin that are measured.")
    ] = 80,
    test: Annotated[
        Path | None,
        typer.Option(
            "--test",
            help="Questions that a pipeline is asked with the model before and after; what it "
            "gains there decides too.",
            show_default=False,
        ),
    ] = None,
    config: Annotated[
        str, typer.Option("--config", "-c", help="The pipeline of --test.")
    ] = "hybrid",
    attention: Annotated[
        list[str] | None,
        typer.Option(
            "--attention",
            help="full, concat or parallel: how sources are read; repeatable, then in turn. "
            "Default: full.",
            show_default=False,
        ),
    ] = None,
    rank: Annotated[int, typer.Option("--rank", min=1, help="Of the adapter.")] = 16,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Answers for each step.")] = 8,
    rate: Rate = None,
    epochs: Epochs = 1,
    seed: Seed = 0,
    licence: Licence = "",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Train an adapter for a local model: to answer from sources, cite them, and abstain.

    A stopped training goes on when the same command is given again.
    """
    from typing import cast, get_args

    from rag.cli.evaluating import progress_bar
    from rag.cli.training import print_verdicts
    from rag.errors import InputError
    from rag.eval.loading import load_dataset
    from rag.extras import check_installed
    from rag.models import Embedder
    from rag.train.reader.lora import LoraSettings
    from rag.train.reader.masks import Attention
    from rag.train.reader.mix import MixSettings, mix
    from rag.train.reader.train import ReaderSettings, train_reader

    check_installed("peft", "train", where="rag train reader")
    kinds = tuple(attention or ("full",))
    if unknown := [one for one in kinds if one not in get_args(Attention)]:
        raise InputError(
            f"there is no attention {unknown[0]!r}", where="--attention",
            fix=f"give one of {', '.join(get_args(Attention))}",
        )  # fmt: skip
    lora = LoraSettings(rank, rate or LoraSettings.rate, batch, epochs, seed)
    wanted = MixSettings(tuple(data or ()), tuple(texts or ()), invented, most, held_out, seed)
    datasets = [load_dataset(path) for path in wanted.data]
    tests = [] if test is None else [load_dataset(test)]
    with progress_bar() as progress:
        mixed = mix(wanted, datasets, Embedder.load(Embedder.default), tests)
        about = {
            "data": [one.name for one in datasets], "texts": [one.name for one in wanted.texts],
            "tested on": [one.name for one in tests], "pipeline": config if test else "",
        }  # fmt: skip
        tester = _tester(config, tests[0], progress) if tests else None
        settings = ReaderSettings(model, lora, cast("tuple[Attention, ...]", kinds))
        verdicts = train_reader(
            mixed, settings, out, about, test=tester, licence=licence, force=force,
            report=progress,
        )  # fmt: skip
    print_verdicts(out, verdicts, as_json=as_json)


def _tester(
    config: str, data: Dataset, progress: Callable[[str, int, int], None]
) -> Callable[[str, str], Mapping[str, Sequence[float]]]:
    """Questions put to a pipeline with a model; right or not, by kind."""
    from rag.cli.config import load
    from rag.eval.answers import ask_all
    from rag.eval.corpus import Corpus
    from rag.eval.support import Judge

    def ask(name: str, model: str) -> dict[str, list[float]]:
        with Corpus(data) as corpus, load(config).with_resources(llm=model) as flow:
            results = ask_all(
                corpus.bind(flow), data.queries, Judge(),
                progress=lambda done, total: progress(f"test {name}", done, total),
            )  # fmt: skip
        values: dict[str, list[float]] = {"all": [float(one.right) for one in results]}
        for one in results:
            values.setdefault(one.kind or "other", []).append(float(one.right))
        return values

    return ask
