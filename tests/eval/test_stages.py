"""Where the gold got lost: what was retrieved, reranked and read, by the run's record."""

from __future__ import annotations

from pathlib import Path

import pytest
from langchain_core.documents import Document

from rag import Flow, load_flow, operator
from rag.errors import ModelError
from rag.eval.answers import answer_rows, ask_all
from rag.eval.dataset import Query
from rag.eval.gold import context_precision, context_recall, gold_in, relevant
from rag.eval.results import AnswerResult
from rag.eval.stages import stages
from rag.eval.support import Judge
from rag.flow.run.record import Call
from rag.index import IndexWriter
from rag.operators import Generate
from rag.pipelines import path
from rag.prompts.prompt import Prompt
from rag.testing import ScriptedEmbedder, ScriptedLLM
from rag.testing.llm import Answer

TEXTS = {
    "locks": "The lock opens at six. The north lock is 120 m long. Ask the lock keeper.",
    "pumps": "The pump of the lock lifts 240 litres.",
    "tolls": "The toll of the lock is 3 crowns.",
    "far": "Zebras graze.",
}
LOCK = Query("q1", "Who is the lock keeper of the lock?", {"locks": 1}, ("120 m",))
UNKNOWN = Query("q2", "What is the salary at the lock?", {}, (), answerable=False)


def documents(*names: str) -> list[Document]:
    return [Document(page_content=TEXTS[name], metadata={"source": name}) for name in names]


@pytest.fixture
def resources(tmp_path: Path) -> dict[str, object]:
    embedder = ScriptedEmbedder()
    IndexWriter(tmp_path / "index").write(documents(*TEXTS), embedder)
    return {"index": str(tmp_path / "index"), "embedder": embedder, "llm": ScriptedLLM("120 m [1]")}


def asked(steps: str, resources: dict[str, object], *queries: Query) -> list[AnswerResult]:
    flow = load_flow(f"steps: [{steps}]\n").with_resources(**resources)
    return ask_all(flow, queries or [LOCK], Judge())


def reached(one: AnswerResult) -> list[float | None]:
    return [one.gold_retrieved, one.gold_reranked, one.gold_read]


READ = "{use: generate}, {use: cite}"


@pytest.mark.parametrize(
    ("steps", "gold"),
    [
        ("{use: bm25, k: 4}, " + READ, [1.0, None, 1.0]),
        ("{use: bm25, k: 4}, {use: rerank, k: 3}, " + READ, [1.0, 1.0, 1.0]),
        (
            "{use: bm25, k: 4}, {use: rerank, k: 3}, "
            "{use: select_sentences, sentences: 1}, " + READ,
            [1.0, 1.0, 0.0],
        ),
        (
            "{use: bm25, k: 4}, {use: rule_rerank, by: \"1 if source == 'tolls' else 0\", k: 1}, "
            + READ,
            [1.0, 0.0, 0.0],
        ),
        (
            "{use: bm25, k: 4, where: {source: tolls}}, {use: rerank, k: 3}, " + READ,
            [0.0, 0.0, 0.0],
        ),
    ],
)
def test_the_stage_where_the_answer_is_lost(
    steps: str, gold: list[float | None], resources: dict[str, object]
) -> None:
    (found,) = asked(steps, resources)
    assert reached(found) == gold


def test_what_the_window_cuts_was_not_read(resources: dict[str, object]) -> None:
    resources["llm"] = ScriptedLLM("120 m", window=400)
    long = {name: f"{text} {'lock ' * 300}" for name, text in TEXTS.items()}

    @operator(writes="documents")
    def found(query: str) -> list[Document]:
        return [Document(page_content=long[name]) for name in ("tolls", "locks")]

    flow = Flow(found() >> Generate(), resources=resources)
    (one,) = ask_all(flow, [LOCK], Judge())
    assert reached(one) == [1.0, None, 0.0]
    assert len(one.sources) == 2


def test_what_only_the_citations_are_checked_by_was_not_read(resources: dict[str, object]) -> None:
    """RECOMP's answer is from the summary, its citations are of the documents."""
    resources["llm"] = ScriptedLLM({"summarize": "It lifts 240 litres.", "generate": "120 m."})
    steps = "{use: bm25, k: 4}, {use: summarize, outputs: {documents: read}}, "
    steps += "{use: generate, inputs: {documents: read}}, {use: cite}"
    (one,) = asked(steps, resources)
    assert reached(one) == [1.0, None, 0.0]


def test_the_sentences_of_an_answer_are_written_from_what_was_read(
    resources: dict[str, object],
) -> None:
    resources["llm"] = ScriptedLLM(["It is 120 m long.", "DONE"])
    steps = "{use: bm25, k: 4}, {use: next_sentence}, {use: append_sentence}, {use: cite}"
    (one,) = asked(steps, resources)
    assert reached(one) == [1.0, None, 1.0]
    assert len(one.prompts) == 1


def test_what_a_step_runs_itself_is_seen_too(resources: dict[str, object]) -> None:
    inner = "{use: bm25, k: 4}, {use: rerank, k: 3}, {use: generate}, {use: cite}"
    (one,) = asked(f"{{use: answer_cache, otherwise: {{steps: [{inner}]}}}}", resources)
    assert reached(one) == [1.0, 1.0, 1.0]
    assert len(one.prompts) == 1


def test_the_sources_and_the_prompt_are_kept(resources: dict[str, object]) -> None:
    (one,) = asked("{use: bm25, k: 4}, " + READ, resources)
    assert {source.name: source.relevant for source in one.sources} == {
        "locks": True, "pumps": False, "tolls": False,
    }  # fmt: skip
    (prompt,) = one.prompts
    assert TEXTS["pumps"] in prompt
    assert LOCK.text in prompt


def test_a_run_that_fails_shows_how_far_it_came(resources: dict[str, object]) -> None:
    resources["llm"] = ScriptedLLM([ModelError("gone")])
    (one,) = asked("{use: bm25, k: 4}, " + READ, resources)
    assert one.error is not None
    assert one.gold_retrieved == 1.0
    assert len(one.sources) == 3


def test_of_an_ensemble_all_sources_are_read(resources: dict[str, object]) -> None:
    resources["llm"] = ScriptedLLM("120 m", probability=0.9)
    (one,) = asked("{use: bm25, k: 4}, {use: replug}", resources)
    assert one.gold_read == 1.0
    assert all(TEXTS[source.name] in one.prompts[0] for source in one.sources)


def test_unanswerable_questions_count(resources: dict[str, object]) -> None:
    resources["llm"] = ScriptedLLM(["120 m [1]", "The sources do not say."])
    right = asked("{use: bm25, k: 4}, " + READ, resources, LOCK, UNKNOWN)
    resources["llm"] = ScriptedLLM(["I do not know.", "3000 crowns [1]"])
    wrong = asked("{use: bm25, k: 4}, " + READ, resources, LOCK, UNKNOWN)
    assert [one.containment for one in right + wrong] == [1.0, 1.0, 0.0, 0.0]
    assert [one.token_f1 for one in right] == [pytest.approx(0.8), 1.0]
    assert [one.abstention for one in right + wrong] == [None, 1.0, None, 0.0]
    assert [one.coverage for one in right + wrong] == [1.0, None, 0.0, None]
    assert [one.gold_read for one in right] == [1.0, None]
    first, second = answer_rows({"right": right, "wrong": wrong})
    assert (first.means["abstention"], second.means["abstention"]) == (1.0, 0.0)
    assert second.gains["containment"] is not None
    assert second.gains["containment"].mean == -1.0


def test_a_failure_is_no_abstention(resources: dict[str, object]) -> None:
    resources["llm"] = ScriptedLLM([ModelError("gone")])
    (one,) = asked("{use: bm25, k: 4}, " + READ, resources, UNKNOWN)
    assert (one.abstained, one.abstention, one.containment) == (False, 0.0, 0.0)


def test_gold_is_what_is_known_best() -> None:
    texts = documents("locks", "pumps")
    both = {"relevant": {"locks": 1, "pumps": 1, "tolls": 0}}
    passages = ("The lock opens at six. Zebras graze.",)
    assert gold_in(Query("q", "?", {"locks": 1}, ("120 m",)), texts[1:]) == 0.0
    assert gold_in(Query("q", "?", {}, ("x",), passages=passages), texts) == 0.5
    assert gold_in(Query("q", "?", answers=(), **both), texts[:1]) == 0.5
    assert gold_in(Query("q", "?", {}, ()), texts) is None


def test_a_document_is_known_by_its_source_or_its_path() -> None:
    query = Query("q", "?", {"operations/locks.md": 1}, ())
    at = {"source": "/docs/operations/locks.md", "path": "operations/locks.md"}
    assert relevant(query, Document(page_content="x", metadata=at))
    assert not relevant(query, Document(page_content="x", metadata={"source": "locks.md"}))
    assert context_recall(query, [Document(page_content="x", metadata=at)]) == 1.0


@pytest.mark.parametrize(
    ("flags", "precision"),
    [
        ([True, False, True], (1 + 2 / 3) / 2),
        ([False, True], 0.5),
        ([False], 0.0),
        ([None], None),
        ([], None),
    ],
)
def test_context_precision(flags: list[bool | None], precision: float | None) -> None:
    assert context_precision(flags) == pytest.approx(precision)


def test_what_tools_return_was_read() -> None:
    @operator(writes="answer")
    def asked(query: str) -> str:
        return "120 m"

    flow = Flow(asked(), name="it")
    record = flow.run(query="How long?")
    told = ({"role": "user", "content": "How long?"}, {"role": "tool", "content": "It is 120 m."})
    (one,) = record.occurrences
    one.calls.append(Call("scripted", told, "120 m", 9, 3, 0.1))
    assert stages(flow, record).read == ("It is 120 m.",)


def test_an_agents_searches_are_stages(resources: dict[str, object]) -> None:
    replies = iter(["search", "answer"])

    def act(prompt: Prompt) -> Answer:
        name = next(replies, None)
        if name is None:
            return "120 m [1]"
        arguments = {"query": "lock keeper"} if name == "search" else {}
        return {"thought": "", "tool": name, "arguments": arguments}

    flow = load_flow(path("agent"), params={"compress": "none"}).with_resources(
        **{**resources, "llm": ScriptedLLM(act)}
    )
    (one,) = ask_all(flow, [LOCK], Judge())
    assert one.error is None
    assert (one.gold_retrieved, one.gold_read, one.context_recall) == (1.0, 1.0, 1.0)
