"""Training an embedder: hard negatives by our own search, and both towers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rag.eval.corpus import Corpus
from rag.extras import check_installed
from rag.flow import Flow
from rag.models import Embedder
from rag.models.opening.find import find_model, without_adapter
from rag.operators import Dense
from rag.train.adapter import save_adapter, with_adapter
from rag.train.course import Course, fit, require_trainers
from rag.train.quiet import quiet
from rag.train.ranker import RankerSettings
from rag.train.teachers import teacher_of
from rag.train.triples import Mining, answering, columns, mined

if TYPE_CHECKING:
    from rag.eval.corpus import Progress
    from rag.train.asked import Questions
    from rag.train.work import Work

Loss = Literal["in-batch", "margin-mse"]
Layers = Literal["full", "lora"]
DEPTH = 100
"""Documents of a ranking that is measured."""


@dataclass(frozen=True)
class EmbedderSettings(RankerSettings):
    """How an embedder is trained; it has to beat its base by dense search.

    Both towers are trained: questions and documents go through the same weights, so documents
    have to be embedded anew.

    Attributes:
        base: The model, as a pipeline names it.
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
    layers: Layers = "full"
    rank: int = 16
    loss: Loss = "in-batch"
    teacher: str = "rerank"
    course: Course = field(default_factory=Course)
    mining: Mining = field(default_factory=Mining)

    def require(self) -> None:
        """See `RankerSettings.require`."""
        require_trainers("rag train embedder")
        if self.layers == "lora":
            check_installed("peft", "train", where="--layers lora")

    def baseline(self, questions: Questions, work: Work, report: Progress) -> str:
        """The model that it is trained from."""
        return self.base

    def flow(self, corpus: Corpus, model: str) -> Flow:
        """Dense search over the documents, embedded by a model."""
        flow = Flow(
            Dense(k=DEPTH), name="dense", inputs={"query": str},
            resources={"index": self.index, "embedder": model},
        )  # fmt: skip
        return corpus.bind(flow)

    def fit(
        self, questions: Questions, baseline: str, folder: Path, work: Work, report: Progress
    ) -> None:
        """See `RankerSettings.fit`."""
        import sentence_transformers
        import torch
        from sentence_transformers.sentence_transformer import losses

        margins = self.loss == "margin-mse"
        learned = questions.learned
        with Corpus(learned, work.folder / "indexes", report) as corpus:
            flow = self.flow(corpus, self.base)
            teacher = None
            if margins:
                teacher = teacher_of(self.teacher, flow.resources.get("embedder", Embedder))
            triples = mined(
                flow, learned, self.mining, teacher,
                progress=lambda done, total: report("negatives", done, total),
            )  # fmt: skip
        files = without_adapter(find_model(self.base, Path()))
        torch.manual_seed(self.course.seed)
        with quiet():
            model = sentence_transformers.SentenceTransformer(files.location)
        adapter = None
        if self.layers == "lora":
            adapter = with_adapter(model[0].auto_model, self.rank)
        fit(
            "SentenceTransformer", model,
            losses.MarginMSELoss(model) if margins else losses.MultipleNegativesRankingLoss(model),
            columns(triples, margins=margins), self.course, work.folder / "checkpoints",
            lambda done, total: report("training", done, total),
            apart=None if margins else answering(triples, learned),
            prompts=_prompts(model),
        )  # fmt: skip
        if adapter is None:
            with quiet():
                model.save_pretrained(str(folder), create_model_card=False)
        else:
            save_adapter(adapter, self.base, folder)

    def card(self, name: str, baseline: str) -> tuple[str, str, str]:
        """See `RankerSettings.card`."""
        kind = "An adapter of low rank for" if self.layers == "lora" else "A model trained from"
        use = (
            f"{kind} `{self.base}`. In a pipeline: `embedder: ./{name}`. An index that was made "
            "with another embedder is made anew by `rag ingest`."
        )
        return f"Embedder {name}", self.base, use


def _prompts(model: Any) -> dict[str, str]:
    """What the model puts before questions and documents, by column."""
    from rag.models.local.encoder.library import document_prompt, query_prompt

    documents = document_prompt(model)
    return {"anchor": query_prompt(model), "positive": documents, "negative": documents}
