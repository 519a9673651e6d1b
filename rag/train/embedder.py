"""Training an embedder: hard negatives by our own search, both towers, what it gained, the gate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rag.eval.corpus import Corpus, no_progress
from rag.extras import require
from rag.flow import Flow
from rag.models import Embedder
from rag.models.opening.find import find_model, without_adapter
from rag.operators import Dense
from rag.train.adapter import save_adapter, with_adapter
from rag.train.card import write_card
from rag.train.course import Course, fit, require_trainers
from rag.train.gate import Verdict, refuse
from rag.train.rankings import Rankings, compared, measured
from rag.train.teachers import teacher_of
from rag.train.triples import Mining, answering, columns, mined
from rag.train.work import Work

if TYPE_CHECKING:
    from rag.eval.corpus import Progress
    from rag.eval.dataset import Dataset
    from rag.train.asked import Questions

Loss = Literal["in-batch", "margin-mse"]
Layers = Literal["full", "lora"]
DEPTH = 100
"""Documents of a ranking that is measured."""


@dataclass(frozen=True)
class EmbedderSettings:
    """How an embedder is trained.

    Attributes:
        base: The model, as a pipeline names it.
        index: What a pipeline says of its index: how the documents are split.
        layers: `full`: all weights, a model of its own; `lora`: an adapter of low rank, a few MB
            beside the base. Adapters keep up with full training of dense retrievers at a fraction
            of the weights (Jung et al. 2022, arXiv 2208.09847).
        rank: Of the adapter.
        loss: `in-batch`: cross-entropy over the texts of a batch and the hard negatives;
            `margin-mse`: the teacher's margins (Hofstaetter et al. 2020, arXiv 2010.02666).
        teacher: Of `margin-mse`; see `rag.train.teachers`.
        course: Of the training.
        mining: Of the triples.
    """

    base: str
    index: Any = field(default_factory=lambda: {"path": "./index"})
    layers: Layers = "full"
    rank: int = 16
    loss: Loss = "in-batch"
    teacher: str = "rerank"
    course: Course = field(default_factory=Course)
    mining: Mining = field(default_factory=Mining)


def train_embedder(
    questions: Questions,
    settings: EmbedderSettings,
    out: Path,
    about: Mapping[str, Any],
    *,
    licence: str = "",
    force: bool = False,
    report: Progress = no_progress,
) -> list[Verdict]:
    """Train an embedder, measure it beside its base by dense search, save it if it is better.

    Both towers are trained: questions and documents go through the same weights, so documents
    have to be embedded anew.

    Args:
        questions: What is learned, and what is measured.
        settings: How.
        out: The folder of the model, or of the adapter. `OUT.training` beside it holds what is
            under way; a stopped training goes on from it.
        about: For the card: what the questions were made from.
        licence: Of the data, for the card.
        force: Save it whatever it gained; the card says so.
        report: Called with what is done, how much, and of how much.

    Returns:
        What was measured.

    Raises:
        GateError: It is not surely better; nothing was saved.
        ConfigError: A library that trains is missing, `out` is there, or a training with other
            settings was stopped there.
        ModelError: There is no such model.
    """
    require_trainers("rag train embedder")
    if settings.layers == "lora":
        require("peft", "train", where="--layers lora")
    everything = {**asdict(settings), **about}
    work = Work(out, {**everything, "questions": questions.digest})
    built = work.folder / "model"

    def rankings(name: str, model: str) -> dict[str, Rankings]:
        def flow(corpus: Corpus, data: Dataset) -> Flow:
            return dense(corpus, settings.index, model)

        return measured(name, questions, flow, work, report)

    before = rankings("before", settings.base)
    if not built.exists():
        _train(questions, settings, work, built, report)
    found = compared(before, rankings("after", str(built.resolve())))
    passed = refuse(found, force)
    kind = "An adapter of low rank for" if settings.layers == "lora" else "A model trained from"
    write_card(
        built, f"Embedder {out.name}", settings.base,
        f"{kind} `{settings.base}`. In a pipeline: `embedder: ./{out.name}`. An index that was "
        "made with another embedder is made anew by `rag ingest`.",
        everything, questions.counts(), found, licence=licence, passed=passed,
    )  # fmt: skip
    work.finish(built)
    return found


def dense(corpus: Corpus, index: Any, embedder: str) -> Flow:
    """Dense search over the documents of a data set, embedded by a model."""
    flow = Flow(
        Dense(k=DEPTH), name="dense", inputs={"query": str},
        resources={"index": index, "embedder": embedder},
    )  # fmt: skip
    return corpus.bind(flow)


def _train(
    questions: Questions, settings: EmbedderSettings, work: Work, built: Path, report: Progress
) -> None:
    import sentence_transformers
    import torch
    from sentence_transformers.sentence_transformer import losses

    margins = settings.loss == "margin-mse"
    learned = questions.learned
    with Corpus(learned, work.folder / "indexes", report) as corpus:
        flow = dense(corpus, settings.index, settings.base)
        teacher = None
        if margins:
            teacher = teacher_of(settings.teacher, flow.resources.get("embedder", Embedder))
        triples = mined(
            flow, learned, settings.mining, teacher,
            progress=lambda done, total: report("negatives", done, total),
        )  # fmt: skip
    files = without_adapter(find_model(settings.base, Path()))
    torch.manual_seed(settings.course.seed)
    model = sentence_transformers.SentenceTransformer(files.location)
    adapter = None
    if settings.layers == "lora":
        adapter = with_adapter(model[0].auto_model, settings.rank)
    loss = losses.MarginMSELoss(model) if margins else losses.MultipleNegativesRankingLoss(model)
    fit(
        "SentenceTransformer", model, loss, columns(triples, margins=margins), settings.course,
        work.folder / "checkpoints",
        lambda done, total: report("training", done, total),
        apart=None if margins else answering(triples, learned),
        prompts=_prompts(model),
    )  # fmt: skip
    part = built.with_suffix(".part")
    if adapter is None:
        model.save_pretrained(str(part), create_model_card=False)
    else:
        save_adapter(adapter, settings.base, part)
    part.rename(built)


def _prompts(model: Any) -> dict[str, str]:
    """What the model puts before questions and documents, by column."""
    from rag.models.local.encoder.library import document_prompt, query_prompt

    documents = document_prompt(model)
    return {"anchor": query_prompt(model), "positive": documents, "negative": documents}
