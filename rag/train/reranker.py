"""Training a cross-encoder by a teacher's margins."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from rag.eval.corpus import Corpus
from rag.flow import Flow
from rag.models import Embedder
from rag.models.opening.find import find_model, without_adapter
from rag.operators import CrossRerank, Hybrid, Rerank
from rag.train.course import Course, fit, require_trainers
from rag.train.quiet import quiet
from rag.train.ranker import RankerSettings
from rag.train.teachers import teacher_of
from rag.train.triples import Mining, columns, mined

if TYPE_CHECKING:
    from rag.eval.corpus import Progress
    from rag.train.asked import Questions
    from rag.train.work import Work


@dataclass(frozen=True)
class RerankerSettings(RankerSettings):
    """How a cross-encoder is trained; it has to beat `rerank`.

    Both rerank what `hybrid` finds. The trained model does so behind `rerank`, whose scores count
    as `prior` says; how it ranks alone is reported and does not decide.

    Attributes:
        base: The encoder that it is made from, or a cross-encoder, as a pipeline names it. An
            encoder gets a head, which is new.
        embedder: What the search and `rerank` embed with.
        teacher: Whose margins are learned (Margin-MSE, Hofstaetter et al. 2020, arXiv
            2010.02666); see `rag.train.teachers`. Judged texts count more than it.
        prior: Weight of `rerank`'s scores beside those of the trained model; 0: it ranks alone.
        course: Of the training.
        mining: Of the triples, and of how many documents are reranked.
    """

    base: str
    embedder: str
    teacher: str = "rerank"
    prior: float = 2.0
    course: Course = field(default_factory=lambda: Course(rate=5e-5, epochs=2))
    mining: Mining = field(default_factory=lambda: Mining(each=8))

    def require(self) -> None:
        """See `RankerSettings.require`."""
        require_trainers("rag train reranker")

    def baseline(self, questions: Questions, work: Work, report: Progress) -> str:
        """No model: `rerank`."""
        return ""

    def flow(self, corpus: Corpus, model: str) -> Flow:
        """What `hybrid` finds, reranked; by the trained model too if there is one."""
        depth = self.mining.depth
        steps: Any = Hybrid(k=depth) >> Rerank(k=depth, depth=depth)
        resources = {"index": self.index, "embedder": self.embedder}
        if model:
            steps = steps >> CrossRerank(k=depth, depth=depth, prior=self.prior)
            resources["reranker"] = model
        return corpus.bind(Flow(steps, name="rerank", inputs={"query": str}, resources=resources))

    def fit(
        self, questions: Questions, baseline: str, folder: Path, work: Work, report: Progress
    ) -> None:
        """See `RankerSettings.fit`."""
        import sentence_transformers
        import torch
        from sentence_transformers.cross_encoder import losses

        files = without_adapter(find_model(self.base, Path()))
        learned = questions.learned
        with Corpus(learned, work.folder / "indexes", report) as corpus:
            flow = self.flow(corpus, baseline)
            teacher = teacher_of(self.teacher, flow.resources.get("embedder", Embedder))
            triples = mined(
                flow, learned, self.mining, teacher, spread=1.0,
                progress=lambda done, total: report("negatives", done, total),
            )  # fmt: skip
        torch.manual_seed(self.course.seed)
        with quiet():
            model = sentence_transformers.CrossEncoder(files.location, num_labels=1)
        fit(
            "CrossEncoder", model, losses.MarginMSELoss(model), columns(triples, margins=True),
            self.course, work.folder / "checkpoints",
            lambda done, total: report("training", done, total),
        )  # fmt: skip
        with quiet():
            model.save_pretrained(str(folder), create_model_card=False)

    def card(self, name: str, baseline: str) -> tuple[str, str, str]:
        """See `RankerSettings.card`."""
        step = "{use: cross_rerank" + (f", prior: {self.prior:g}" if self.prior else "") + "}"
        use = (
            f"A cross-encoder trained from `{self.base}`. In a pipeline: `reranker: ./{name}` "
            f"among the resources, and `{step}` behind `{{use: rerank}}`. It was measured over "
            f"the first {self.mining.depth} documents of `hybrid`, against `rerank`."
        )
        return f"Reranker {name}", self.base, use

    def alone(self) -> Self | None:
        """Without the scores of `rerank`, if they count."""
        return replace(self, prior=0.0) if self.prior else None
