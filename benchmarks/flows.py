"""Every ready-made flow on the same questions: what it finds, what is read of it, what it answers.

    python benchmarks/flows.py [--data DIR] [--flows A B] [--questions N] [--rows FILE] [--scripted]
                               [--at-once 8]

Without `--data` the example handbook and its questions, by kind: `single` (one document is
enough), `several` (facts of two or more) and `none` (the handbook does not say). With `--data` a
data set in BEIR's format whose queries have answers. The model is the default local one.

`retrieved`: a gold answer stands in the documents of some step; `reranked`: in those of a reranker;
`read`: in a prompt of a step that writes the answer; `contained`: in the answer. `abstained`: of
the questions without an answer.
Questions are put `--at-once`, and the local model decodes their answers together.
`--scripted` asks no model but a script that behaves as a strong one would that never errs: it
answers if a gold answer is in its prompt, and says otherwise that the sources do not say it. What
it does not answer, the flow has kept from it.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rag.eval.corpus import Corpus
from rag.eval.dataset import Dataset, Query
from rag.eval.loading import load_dataset
from rag.eval.metrics import contains, token_f1
from rag.eval.stages import stages
from rag.flow import Flow, load_flow
from rag.models import LLM, Prompt
from rag.models.profiles import Profile
from rag.operators import Load
from rag.operators.answering import DO_NOT_KNOW
from rag.operators.support import support
from rag.pipelines import names, path
from rag.prompts.templates import prompts
from rag.testing.llm import ScriptedLLM, text_of
from rag.text.abstention import abstains
from rag.text.sentences import sentences

EXAMPLES = Path(__file__).parents[1] / "examples"
WINDOW = 8192
"""Of the scripted model: the smallest of today's strong ones."""
LOCAL = frozenset({"replug"})
"""Flows that need a model that scores texts."""
QUERIES = ("rewrite", "condense_query", "multi_query", "decompose", "hyde", "step_back")
"""Prompts that the scripted model answers with the question."""
MEASURES = ("retrieved", "reranked", "read", "contained")
COST = ("calls", "tokens")


@dataclass(frozen=True)
class Row:
    """One question put to one flow."""

    flow: str
    id: str
    kind: str
    answer: str
    retrieved: bool
    reranked: bool | None
    read: bool
    contained: bool
    f1: float
    abstained: bool
    calls: int
    tokens: int
    error: str | None


def handbook() -> tuple[Dataset, dict[str, str]]:
    """The example handbook as a data set, and the kind of each question."""
    flow = Flow(Load(), inputs={"paths": list[str]})
    documents = flow.invoke(paths=[str(EXAMPLES / "handbook")])["documents"]
    rows = [json.loads(line) for line in (EXAMPLES / "questions.jsonl").read_text().splitlines()]
    queries = [
        Query(row["id"], row["question"], dict.fromkeys(row["documents"], 1), tuple(row["answers"]))
        for row in rows
    ]
    return Dataset("handbook", documents, queries), {row["id"]: row["kind"] for row in rows}


def strong(query: Query, scores: bool = False) -> ScriptedLLM:
    """A strong model that knows nothing by heart, reads everything and never errs.

    Args:
        query: Whose gold answers it recognises where it reads them.
        scores: Whether it scores texts, as local models do.
    """

    def gold(prompt: Prompt) -> str:
        read = text_of(prompt)
        return next((one for one in query.answers if contains(read, [one])), "")

    def answer(prompt: Prompt) -> str:
        return f"It is {found}." if (found := gold(prompt)) else DO_NOT_KNOW

    def grade(prompt: Prompt) -> str:
        return "4" if gold(prompt) else "0"

    def sentence(prompt: Prompt) -> str:
        return "DONE" if query.text != prompt.question else answer(prompt)

    def thought(prompt: Prompt) -> str:
        if found := gold(prompt):
            return f"So the answer is: {found}."
        read = [one for chunk in prompt.chunks for one in sentences(chunk, lines=True)]
        return max(read, key=lambda one: support(query.text, one), default="It must be found.")

    def follow_up(prompt: Prompt) -> str:
        return "DONE" if prompt.history else f"In other words, {query.text}"

    decisions = [
        {"thought": "", "tool": "search", "arguments": {"query": query.text}},
        {"thought": "", "tool": "answer", "arguments": {}},
    ]
    said: dict[str, Any] = dict.fromkeys([*prompts(), "other"], answer)
    said |= dict.fromkeys((one for one in prompts() if one.startswith("grade_")), grade)
    said |= dict.fromkeys(QUERIES, query.text)
    said |= {
        "disambiguate": "CLEAR", "knowledge_judge": DO_NOT_KNOW, "grade_knows": "0",
        "critique": "Nothing is wrong.", "rank": "1", "rank_answers": "1",
        "next_sentence": sentence,
        "next_thought": thought, "follow_up": follow_up,
        "agent": decisions, "agent_reasoning": decisions,
    }  # fmt: skip
    return ScriptedLLM(
        said, window=WINDOW, probability=0.9 if scores else None,
        profile=Profile(size="strong", window=WINDOW),
    )  # fmt: skip


def holds(texts: Iterable[str], golds: Sequence[str]) -> bool:
    """Whether one of the texts contains a gold answer."""
    return any(contains(text, golds) for text in texts)


def put(flow: Flow, query: Query, kind: str) -> Row:
    """One question put to a flow."""
    record = flow.run(query=query.text)
    reached = stages(flow, record)
    answer = str((record.outputs or {}).get("answer") or "")
    reranked = None
    if reached.reranked is not None:
        reranked = holds((one.page_content for one in reached.reranked), query.answers)
    return Row(
        flow=flow.name or "",
        id=query.id,
        kind=kind,
        answer=answer,
        retrieved=holds((one.page_content for one in reached.retrieved), query.answers),
        reranked=reranked,
        read=holds(reached.prompts, query.answers),
        contained=contains(answer, query.answers) > 0,
        f1=token_f1(answer, query.answers),
        abstained=abstains(answer),
        calls=record.llm_calls,
        tokens=record.tokens,
        error=None if record.error is None else str(record.error),
    )


def models(flow: Flow, llm: LLM) -> Flow:
    """The flow with one model for all that its steps take."""
    taken = {name for _, name, kind in flow.needs if issubclass(kind, LLM)}
    return flow.with_resources(**dict.fromkeys(taken, llm))


def share(rows: Sequence[Row], what: str) -> str:
    """How many of the rows have it, of those that it is known of."""
    known = [getattr(row, what) for row in rows if getattr(row, what) is not None]
    return f"{sum(known)}/{len(known)}" if known else ""


def table(rows: Sequence[Row]) -> None:
    """One line for each flow."""
    kinds = list(dict.fromkeys(row.kind for row in rows))
    answerable = [kind for kind in kinds if kind != "none"]
    head = ["flow", *(f"{what} {kind}" for kind in answerable for what in MEASURES), "F1"]
    print(" | ".join(["", *head, "abstained", "calls", "tokens", "errors", ""]).strip())
    print("|---" * (len(head) + 4) + "|")
    for name in dict.fromkeys(row.flow for row in rows):
        own = [row for row in rows if row.flow == name]
        cells = [name]
        for kind in answerable:
            of = [row for row in own if row.kind == kind]
            cells += [share(of, what) for what in MEASURES]
        given = [row for row in own if row.kind != "none"]
        none = [row for row in own if row.kind == "none"]
        cells += [f"{sum(row.f1 for row in given) / max(len(given), 1):.2f}"]
        cells += [f"{sum(row.abstained for row in none)}/{len(none)}"]
        cells += [f"{sum(getattr(row, what) for row in own) / len(own):.1f}" for what in COST]
        cells += [str(sum(row.error is not None for row in own))]
        print(" | ".join(["", *cells, ""]).strip(), flush=True)


def measured(given: argparse.Namespace, data: Dataset, kinds: Mapping[str, str]) -> list[Row]:
    """The rows of all flows; those of the file are not asked again."""
    queries = [one for one in data.queries if one.answers or kinds]
    random.Random(given.seed).shuffle(queries)
    queries = queries[: given.questions]
    rows: list[Row] = []
    if given.rows and given.rows.exists():
        rows = [Row(**json.loads(line)) for line in given.rows.read_text().splitlines()]
    known = {(row.flow, row.id) for row in rows}
    local = None if given.scripted else LLM.load(LLM.default, base=Path())
    with (
        tempfile.TemporaryDirectory() as folder,
        Corpus(data, given.index) as corpus,
        ThreadPoolExecutor(given.at_once) as pool,
    ):
        own = {"cached": {"kv": folder}, "answer_cache": {"answers": f"{folder}/answers.sqlite"}}
        for name in given.flows or names():
            flow = load_flow(path(name), params=own.get(name))
            stored = name == "cached" and local is not None  # its model has a store
            bound = corpus.bind(flow if stored else models(flow, local or strong(queries[0])))
            asked = []
            for query in queries:
                if (name, query.id) not in known:
                    one = bound if local else models(bound, strong(query, name in LOCAL))
                    asked.append(pool.submit(put, one, query, kinds.get(query.id, "all")))
            for done in as_completed(asked):
                rows.append(replace(done.result(), flow=name))
                if given.rows:
                    with given.rows.open("a") as file:
                        file.write(json.dumps(asdict(rows[-1])) + "\n")
    order = given.flows or names()
    return sorted((row for row in rows if row.flow in order), key=lambda row: order.index(row.flow))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--data", type=Path, help="a folder in BEIR's format; default: the handbook"
    )
    parser.add_argument("--flows", nargs="+", choices=names(), help="default: all")
    parser.add_argument("--questions", type=int, help="at most so many, drawn by --seed")
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--rows", type=Path, help="keep each result here, and go on from there")
    parser.add_argument("--index", type=Path, help="keep the index in this folder")
    parser.add_argument("--at-once", type=int, default=8, help="questions")
    parser.add_argument("--scripted", action="store_true", help="a scripted strong model")
    given = parser.parse_args()
    data, kinds = (load_dataset(given.data), {}) if given.data else handbook()
    table(measured(given, data, kinds))


if __name__ == "__main__":
    main()
