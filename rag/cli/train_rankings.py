"""`rag train embedder`, `reranker` and `aggregate`: models that find and rank."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from rag.cli.config import Json
from rag.cli.training import (
    TEACHERS,
    Base,
    Batch,
    Data,
    Depth,
    Epochs,
    Force,
    HeldOut,
    Licence,
    Make,
    Negatives,
    Options,
    Out,
    Pipeline,
    Rate,
    Seed,
    Test,
    Tokens,
    train,
)


def embedder(
    out: Out,
    model: Base = "all-minilm-l6-v2",
    data: Data = None,
    make: Make = 0,
    test: Test = None,
    config: Pipeline = None,
    held_out: HeldOut = 500,
    layers: Annotated[
        Literal["full", "lora"],
        typer.Option("--layers", help="All weights, or an adapter of a few MB beside the base."),
    ] = "full",
    rank: Annotated[int, typer.Option("--rank", min=1, help="Of the adapter.")] = 16,
    loss: Annotated[
        Literal["in-batch", "margin-mse"],
        typer.Option("--loss", help="Tell texts apart, or reach the margins of a teacher."),
    ] = "in-batch",
    teacher: Annotated[str, typer.Option("--teacher", help=TEACHERS)] = "rerank",
    negatives: Negatives = 4,
    depth: Depth = 30,
    batch: Batch = 16,
    tokens: Tokens = 160,
    rate: Rate = None,
    epochs: Epochs = 1,
    seed: Seed = 0,
    licence: Licence = "",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Train an embedder: questions near the texts that answer them, others far.

    Saved only if it finds better than its base on questions that it did not learn. A stopped
    training goes on when the same command is given again.
    """
    from rag.train.course import Course
    from rag.train.embedder import EmbedderSettings
    from rag.train.triples import Mining

    default = 2e-5 if layers == "full" else 5e-4
    course = Course(rate or default, batch, epochs, tokens, seed)
    mining = Mining(depth, negatives, seed)
    settings = EmbedderSettings(model, layers, rank, loss, teacher, course, mining)
    options = Options(out, data, make, test, config, held_out, seed, licence, force, as_json)
    train(options, settings)


def reranker(
    out: Out,
    model: Base = "all-minilm-l6-v2",
    data: Data = None,
    make: Make = 0,
    test: Test = None,
    config: Pipeline = None,
    held_out: HeldOut = 500,
    embedder: Annotated[
        str, typer.Option("--embedder", help="What the search and `rerank` embed with.")
    ] = "all-minilm-l6-v2",
    teacher: Annotated[str, typer.Option("--teacher", help=TEACHERS)] = "rerank",
    prior: Annotated[
        float,
        typer.Option(
            "--prior",
            min=0,
            help="Weight of the scores of `rerank` beside those of the model; 0: it ranks alone.",
        ),
    ] = 2.0,
    negatives: Negatives = 8,
    depth: Depth = 30,
    batch: Batch = 16,
    tokens: Tokens = 192,
    rate: Rate = None,
    epochs: Epochs = 2,
    seed: Seed = 0,
    licence: Licence = "",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Train a cross-encoder for `cross_rerank`: it reads question and text together.

    Saved only if it ranks what `hybrid` finds better than `rerank` does, on questions that it did
    not learn. A stopped training goes on when the same command is given again.
    """
    from rag.train.course import Course
    from rag.train.reranker import RerankerSettings
    from rag.train.triples import Mining

    course = Course(rate or 5e-5, batch, epochs, tokens, seed)
    mining = Mining(depth, negatives, seed)
    settings = RerankerSettings(model, embedder, teacher, prior, course, mining)
    options = Options(out, data, make, test, config, held_out, seed, licence, force, as_json)
    train(options, settings)


def aggregate(
    out: Out,
    model: Annotated[
        str, typer.Option("--model", help="The embedder whose vectors are weighed.")
    ] = "all-minilm-l6-v2",
    data: Data = None,
    make: Make = 0,
    test: Test = None,
    config: Pipeline = None,
    held_out: HeldOut = 500,
    rate: Rate = None,
    epochs: Epochs = 30,
    seed: Seed = 0,
    licence: Licence = "",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Train attention over the chunks of a document for `dense_documents`: which of them count.

    Saved only if documents rank better by it than by the best of mean, max and attention, on
    questions that it did not learn. Questions of a file name `documents` of the index of -c.
    """
    from rag.train.aggregate import AggregateSettings

    settings = AggregateSettings(
        model, rate=rate or AggregateSettings.rate, epochs=epochs, seed=seed
    )
    options = Options(out, data, make, test, config, held_out, seed, licence, force, as_json)
    train(options, settings)
