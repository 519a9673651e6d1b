"""What a model's judgement is worth: by likelihood, and by Yes or No.

    python benchmarks/judges.py --data DIR [--questions 60]

For each question the gold passage and its four nearest neighbours; the area under the ROC curve of
gold against neighbour, over all questions, and the share of questions whose gold passage comes
first. For answers, those made from three, one or no passages, each of which is right
(a gold answer stands in it) or wrong. Thresholds in `rag.operators` were chosen on other draws
(seed 5) of the same data and model.
"""

from __future__ import annotations

import argparse
import asyncio
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from langchain_core.documents import Document

from rag.eval.corpus import Corpus
from rag.eval.dataset import Dataset, Query
from rag.eval.loading import load_dataset
from rag.eval.metrics import contains
from rag.flow import Flow
from rag.models import LLM, Embedder, Prompt, Sampling
from rag.operators import Dense, LLMJudge
from rag.prompts.templates import prompts

Scores = dict[str, list[tuple[str, bool, float]]]
"""Way of judging to question, truth and score."""


async def judged(llm: LLM, query: str, documents: list[Document], answer: str, **how: Any) -> float:
    flow = Flow(
        LLMJudge(**how),
        inputs={"query": str, "documents": list[Document], "answer": str},
        resources={"llm": llm},
    )
    done = await flow.ainvoke(query=query, documents=documents, answer=answer)
    return float(done["score"])


async def passages(llm: LLM, query: Query, near: list[Document], scores: Scores) -> None:
    gold = [one for one in near if one.metadata["source"] in query.relevant][:1]
    others = [one for one in near if one.metadata["source"] not in query.relevant][:4]
    for one in [*gold, *others] if gold else []:
        for by in ("likelihood", "answer"):
            found = await judged(llm, query.text, [one], "", aspect="relevant", by=by)
            scores.setdefault(f"relevant, {by}", []).append((query.id, one in gold, found))


async def answers(llm: LLM, query: Query, near: list[Document], scores: Scores) -> None:
    told = prompts()["generate"].text
    sources = near[:3]
    for read in (sources, sources[:1], sources[1:2], []):
        chunks = tuple(one.page_content for one in read)
        said = (await llm.generate(Prompt(query.text, told, chunks), Sampling(max_tokens=40))).text
        if not said.strip():
            continue
        right = contains(said, query.answers) > 0
        both = dict.fromkeys(("likelihood", "answer"), 0.0)
        for aspect in ("useful", "supported"):
            for by in both:
                found = await judged(llm, query.text, sources, said, aspect=aspect, by=by)
                scores.setdefault(f"{aspect}, {by}", []).append((query.id, right, found))
                both[by] += found
        for by, total in both.items():
            scores.setdefault(f"useful + supported, {by}", []).append((query.id, right, total))


def area(found: Sequence[tuple[str, bool, float]]) -> float:
    """Under the ROC curve: how often what is true scores above what is not."""
    true = [score for _, truth, score in found if truth]
    false = [score for _, truth, score in found if not truth]
    above = sum((a > b) + (a == b) / 2 for a in true for b in false)
    return above / max(len(true) * len(false), 1)


def first(found: Sequence[tuple[str, bool, float]]) -> float:
    """Share of the questions whose best is true."""
    best: dict[str, tuple[float, bool]] = {}
    for name, truth, score in found:
        if name not in best or score > best[name][0]:
            best[name] = (score, truth)
    return sum(truth for _, truth in best.values()) / max(len(best), 1)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--questions", type=int, default=60)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--index", type=Path, help="keep the index in this folder")
    given = parser.parse_args()
    data: Dataset = load_dataset(given.data)
    asked = [query for query in data.queries if query.answers]
    random.Random(given.seed).shuffle(asked)
    llm = LLM.load(LLM.default, base=Path())
    embedder = Embedder.load(Embedder.default, base=Path())
    scores: Scores = {}
    with Corpus(data, given.index) as corpus:
        search = corpus.bind(Flow(Dense(k=6), resources={"embedder": embedder}))
        for query in asked[: given.questions]:
            near = search.invoke(query=query.text)["documents"]
            asyncio.run(passages(llm, query, near, scores))
            asyncio.run(answers(llm, query, near, scores))
    print(f"{given.questions} questions")
    print("| judged, by | judgements | true | area under the curve | best is true |")
    print("|---|---|---|---|---|")
    for name, found in scores.items():
        true = sum(truth for _, truth, _ in found) / len(found)
        print(f"| {name} | {len(found)} | {true:.2f} | {area(found):.2f} | {first(found):.2f} |")


if __name__ == "__main__":
    main()
