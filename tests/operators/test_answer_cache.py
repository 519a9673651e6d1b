"""Answers given again: which questions match, what they depend on, and what is kept."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.documents import Document

from rag.errors import BuildError, ConfigError
from rag.flow import Flow
from rag.flow.run.events import Token, Warned
from rag.index import Index, IndexWriter
from rag.index.answers import Answers
from rag.operators import AnswerCache
from rag.operators.orchestration.answer_cache import alike
from rag.serve.identity.identity import Identity
from rag.serve.pipelines.flows import Flows
from rag.serve.pipelines.indexes import collection_of
from rag.serve.pipelines.pipeline import Pipelines
from rag.testing.encoders import ScriptedEmbedder
from rag.testing.llm import ScriptedLLM

STEPS: dict[str, Any] = {"steps": [{"use": "bm25", "k": 2}, {"use": "generate"}, {"use": "cite"}]}
ASKED = "When does the north lock open?"
AGAIN = "At what time does the north lock open?"
OTHER = "Who feeds the swans?"
NEAR = {ASKED: [1.0, 0.0, 0.1], AGAIN: [1.0, 0.05, 0.1], OTHER: [0.0, 1.0, 0.0]}


class House:
    """An index, models that count, and the flow over them."""

    def __init__(self, folder: Path, **fields: Any) -> None:
        self.folder, self.fields = folder, fields
        vectors = {**NEAR, **{f"{one} {n}": NEAR[ASKED] for one in NEAR for n in (6, 7)}}
        self.embedder = ScriptedEmbedder(dim=3, vectors=vectors)
        self.llm = ScriptedLLM({"generate": "The north lock opens at six."})
        self.answers = Answers()
        self.write("The north lock opens at six.", "locks")
        self.index = Index.open(folder)

    def write(self, text: str, source: str) -> None:
        document = Document(page_content=text, metadata={"source": source})
        IndexWriter(self.folder).write([document], self.embedder)

    def ask(self, query: str, answers: Answers | None = None, **more: Any) -> dict[str, Any]:
        flow = self.flow(answers or self.answers, **more.pop("resources", {}))
        return flow.invoke(query=query, **more)

    def flow(self, answers: Answers, **resources: Any) -> Flow:
        given = {"index": self.index, "embedder": self.embedder, "llm": self.llm}
        return Flow(
            AnswerCache(**{"otherwise": STEPS, **self.fields}),
            inputs={"query": str, "history": list[dict[str, str]] | None},
            resources={**given, "answers": answers, **resources},
        )

    @property
    def generated(self) -> int:
        return self.llm.names.count("generate")


@pytest.fixture
def house(tmp_path: Path) -> Any:
    made = House(tmp_path / "index")
    with closing(made.index):
        yield made


def test_a_question_of_the_same_meaning_gets_the_same_answer_with_a_label(house: House) -> None:
    first, second = house.ask(ASKED), house.ask(AGAIN)
    assert house.generated == 1
    assert first["cached"] == {}
    assert second["cached"] == {"question": ASKED, "similarity": pytest.approx(0.9988, abs=1e-3)}
    for name in ("answer", "documents", "citations"):
        assert second[name] == first[name]
    assert first["citations"]


def test_an_answer_that_is_given_again_is_streamed(house: House) -> None:
    house.ask(ASKED)
    events = list(house.flow(house.answers).stream(query=ASKED))
    assert (
        "".join(one.text for one in events if isinstance(one, Token)) == house.ask(ASKED)["answer"]
    )


@pytest.mark.parametrize("query", [OTHER, "", "  "])
def test_another_question_is_answered_by_the_flow(house: House, query: str) -> None:
    house.ask(ASKED)
    assert house.ask(query)["cached"] == {}


def test_the_threshold_is_the_cosine(tmp_path: Path) -> None:
    strict = House(tmp_path / "index", threshold=0.9999)
    strict.ask(ASKED)
    assert strict.ask(AGAIN)["cached"] == {}
    assert strict.ask(ASKED)["cached"]


def test_numbers_must_agree(house: House) -> None:
    house.ask(f"{ASKED} 6")
    assert house.ask(f"{ASKED} 7")["cached"] == {}
    assert house.ask(f"{AGAIN} 6")["cached"]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Who pays 4 crowns?", "Who is to pay four crowns?", True),
        ("Who pays 4 crowns?", "Who pays 5 crowns?", False),
        ("Is it open in May?", "Is it open in June?", False),
        ("May dogs swim?", "May dogs not swim?", False),
        ("Where does Ada Moor live?", "where does ada moor live", True),
        ("Where does Ada Moor live?", "Where does Bo Moor live?", False),
        ("Where does he live?", "Where does Bo live?", False),
    ],
)
def test_questions_agree_by_rules(one: str, other: str, same: bool) -> None:
    assert alike(one, other) is same
    assert alike(other, one) is same


@pytest.mark.parametrize(("verdict", "cached"), [("Yes", True), ("No", False), ("perhaps", False)])
def test_the_model_may_be_asked(tmp_path: Path, verdict: str, cached: bool) -> None:
    house = House(tmp_path / "index", same="model")
    house.llm = ScriptedLLM({"generate": "At six.", "same_question": verdict})
    house.ask(ASKED)
    assert bool(house.ask(AGAIN)["cached"]) is cached
    calls = len(house.llm.calls)
    assert house.ask(ASKED)["cached"]
    assert len(house.llm.calls) == calls  # the very same question needs no judge


def test_a_commit_to_the_index_ends_what_was_cached(house: House) -> None:
    house.ask(ASKED)
    house.write("The south lock opens at seven.", "south")
    assert house.ask(ASKED)["cached"] == {}
    assert house.ask(ASKED)["cached"]


def test_an_answer_whose_chunks_are_gone_is_forgotten(tmp_path: Path) -> None:
    house = House(tmp_path / "index")
    scope = house.answers.scope
    house.answers.scope = lambda **parts: scope(**{**parts, "version": "1"})  # type: ignore[method-assign]
    house.ask(ASKED)
    assert len(house.answers) == 1
    house.write("The north lock opens at nine.", "locks")
    assert house.ask(ASKED)["cached"] == {}
    assert "nine" in house.llm.prompts[-1].chunks[0]


def test_another_flow_model_or_embedder_finds_nothing(house: House) -> None:
    house.ask(ASKED)
    other = ScriptedLLM("six")
    other.id = "other"  # type: ignore[misc]
    assert house.ask(ASKED, resources={"llm": other})["cached"] == {}
    house.fields["otherwise"] = {"steps": [{"use": "bm25", "k": 3}, *STEPS["steps"][1:]]}
    assert house.ask(ASKED)["cached"] == {}
    house.fields.clear()
    assert house.ask(ASKED)["cached"]


def test_nothing_is_cached_within_a_conversation(house: House) -> None:
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    house.ask(ASKED, history=turns)
    assert len(house.answers) == 0
    house.ask(ASKED)
    assert house.ask(ASKED, history=turns)["cached"] == {}


def test_an_answer_without_sources_is_not_kept(house: House) -> None:
    house.ask(OTHER)
    assert len(house.answers) == 0


def test_nor_is_one_that_says_that_there_is_none(house: House) -> None:
    house.llm = ScriptedLLM({"generate": "The sources do not say at what time."})
    assert house.ask(ASKED)["documents"]
    assert len(house.answers) == 0


def test_the_inner_flows_tokens_are_streamed_as_the_runnables_answer(house: House) -> None:
    """A first answer comes in pieces, one that is given again as one."""
    runnable = house.flow(house.answers).as_runnable()

    def pieces() -> list[str]:
        parts = runnable.stream({"query": ASKED, "history": None})
        return [part["answer"] for part in parts if part.get("answer")]

    first, again = pieces(), pieces()
    assert "".join(first[:-1]) == "The north lock opens at six."
    assert len(first) > 3
    assert again == ["The north lock opens at six [1]."]


def test_a_store_that_cannot_be_read_is_a_warning(house: House) -> None:
    flow = house.flow(house.answers)
    house.answers._db.execute("DROP TABLE answers")
    events = list(flow.stream(query=ASKED))
    warned = [one.message for one in events if isinstance(one, Warned)]
    assert any("cannot be read" in one for one in warned)
    assert events[-1].result["answer"]


def test_an_inner_flow_with_resources_or_without_an_answer_is_refused() -> None:
    with pytest.raises((ConfigError, BuildError), match="names resources"):
        AnswerCache(otherwise={**STEPS, "resources": {"index": "./other"}})
    with pytest.raises((ConfigError, BuildError), match="writes no `answer`"):
        AnswerCache(otherwise={"steps": [{"use": "bm25"}]})
    with pytest.raises(BuildError, match="bm52"):
        AnswerCache(otherwise={"steps": [{"use": "bm52"}]})


def test_tenants_of_a_server_find_nothing_of_each_other(tmp_path: Path) -> None:
    embedder = ScriptedEmbedder(dim=3, vectors=NEAR)
    llm = ScriptedLLM({"generate": "The north lock opens at six."})
    resources = {"index": str(tmp_path / "index"), "embedder": embedder, "llm": llm}
    stored = {"answers": {"path": str(tmp_path / "answers.sqlite")}}
    flow = Flow(AnswerCache(otherwise=STEPS), resources={**resources, **stored})
    pipelines = Pipelines({"cached": flow})
    flows = Flows(pipelines, tmp_path / "data", 4)
    document = Document(page_content="The north lock opens at six.", metadata={"source": "a"})
    salts = set()
    for user in ("north", "south"):
        IndexWriter(collection_of(flow, user, "index")).write([document], embedder)
        bound = flows.open(pipelines["cached"], Identity(user)).flow
        salts.add(bound.resources.get("answers", Answers).salt)
        assert bound.invoke(query=ASKED)["cached"] == {}
        assert bound.invoke(query=AGAIN)["cached"]
    assert len(salts | {""}) == 3
    flows.close()


# The store

VECTOR = np.array([1.0, 0.0], dtype=np.float32)
PARTS = st.fixed_dictionaries(
    {"index": st.sampled_from("ab"), "version": st.sampled_from("12"), "flow": st.text(max_size=2)}
)
WHO = st.tuples(st.text(max_size=3), PARTS)


@settings(max_examples=60, deadline=None)
@given(st.lists(WHO, min_size=1, max_size=6), WHO)
def test_nothing_is_found_across_tenants_versions_indexes_and_flows(
    stored: list[tuple[str, dict[str, str]]], asked: tuple[str, dict[str, str]]
) -> None:
    with closing(Answers()) as answers:
        for salt, parts in stored:
            view = answers.salted(salt)
            view.put(view.scope(**parts), "q", VECTOR, [], {"of": [salt, parts]})
        salt, parts = asked
        view = answers.salted(salt)
        found = view.nearest(view.scope(**parts), VECTOR, 0.0, 9)
        assert [one.data["of"] for one in found] == [[salt, parts]] * (asked in stored)


def test_answers_are_bounded_and_the_least_used_go_first() -> None:
    with closing(Answers(most=2)) as answers:
        for name in ("a", "b"):
            answers.put("s", name, VECTOR, [], {})
        (first,) = [one for one in answers.nearest("s", VECTOR, 0, 9) if one.query == "a"]
        answers.use(first.id)
        answers.put("s", "c", VECTOR, [], {})
        assert {one.query for one in answers.nearest("s", VECTOR, 0, 9)} == {"a", "c"}


def test_a_vector_of_another_length_is_no_match() -> None:
    with closing(Answers()) as answers:
        answers.put("s", "q", VECTOR, [], {})
        assert answers.nearest("s", np.ones(3, dtype=np.float32), 0, 9) == []


KILLED = """
import os, sys
from pathlib import Path
import numpy as np
from rag.index.answers import Answers
answers = Answers(Path(sys.argv[1]))
answers.put("s", "q", np.array([1.0, 0.0], dtype=np.float32), ["c"], {"answer": "six"})
answers._db.execute("BEGIN IMMEDIATE")
answers._db.execute("DELETE FROM answers")
os._exit(9)
"""


def test_answers_survive_a_kill(tmp_path: Path) -> None:
    file = tmp_path / "answers.sqlite"
    assert subprocess.run([sys.executable, "-c", KILLED, str(file)], check=False).returncode == 9
    with closing(Answers(file)) as answers:
        (one,) = answers.nearest("s", VECTOR, 0.9, 1)
        assert (one.query, one.chunks, one.data) == ("q", ["c"], {"answer": "six"})
