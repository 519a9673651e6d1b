"""The mix that a reader learns from, and the questions that it is measured on.

Each kind of origin teaches another part: invented documents, reading alone; texts, how facts are
really written; data sets, what people really ask.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rag.train.reader.example import Example
from rag.train.reader.found import of_dataset, of_texts, passages_of
from rag.train.reader.invented import invented
from rag.train.split import refuse_few, refuse_leak, split

if TYPE_CHECKING:
    from rag.eval.dataset import Dataset
    from rag.models import Embedder


@dataclass(frozen=True)
class MixSettings:
    """What is mixed.

    Attributes:
        data: Data sets whose questions have answers: folders in BEIR's format, files of questions.
        texts: Files, folders and corpora that questions are made from by rules.
        invented: Examples over documents that do not exist.
        most: Examples from each data set, and from all texts.
        held_out: Examples of each origin that are measured and not learned, at most; of a small
            origin a third.
        seed: Of all random choices.
    """

    data: tuple[Path, ...] = ()
    texts: tuple[Path, ...] = ()
    invented: int = 2400
    most: int = 1000
    held_out: int = 80
    seed: int = 0


@dataclass(frozen=True)
class Mix:
    """What is learned from, and what is measured."""

    learned: list[Example]
    held_out: list[Example]

    def counts(self) -> dict[str, dict[str, int]]:
        """Origin to the number of learned examples by kind, and of held-out ones."""
        found: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        for one in self.learned:
            found[one.origin][one.kind] += 1
        for one in self.held_out:
            found[one.origin]["held out"] += 1
        return {name: dict(of) for name, of in found.items()}


def mix(
    settings: MixSettings, datasets: Sequence[Dataset], embedder: Embedder, tests: Sequence[Dataset]
) -> Mix:
    """Make the examples.

    Args:
        settings: What is mixed.
        datasets: `settings.data`, read.
        embedder: Finds what stands beside the right passage.
        tests: Data sets that the reader is tested on, none of whose questions may be learned.

    Raises:
        ConfigError: A question is both learned and tested; or there are too few examples.
    """
    seed = settings.seed
    for data in datasets:
        refuse_leak(data, tests)
    origins = [of_dataset(data, embedder, settings.most, seed) for data in datasets]
    if settings.texts:
        chunks = [one for path in settings.texts for one in passages_of(path, embedder)]
        origins.append(of_texts(chunks, embedder, "texts", settings.most, seed))
    learned: list[Example] = []
    held: list[Example] = []
    for examples in origins:
        ours, theirs = split(examples, settings.held_out, seed)
        learned += ours
        held += theirs
    if settings.invented:
        learned += invented(settings.invented, seed)
        count = min(settings.held_out, max(settings.invented // 2, 1))
        held += invented(count, seed, unseen=True)
    refuse_few(len(learned), len(held), "--data, --texts, --invented")
    random.Random(seed).shuffle(learned)  # noqa: S311 - no secret
    return Mix(learned, held)
