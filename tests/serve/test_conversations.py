"""Conversations: kept, continued, exported, deleted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rag import Document, Flow, operator
from rag.operators import Generate
from rag.serve import Settings
from rag.testing.llm import ScriptedLLM
from tests.serve.conftest import Doors, local, running, sent, toy


def test_a_conversation_is_kept(kept: Settings, client: Any) -> None:
    with running(local(toy(), settings=kept)) as address:
        http = client(address)
        key = http.post("/conversations").json()["id"]
        for question in ("Books", "crash"):
            http.post("/ask", json={"query": question, "conversation": key})
    with running(local(toy(), settings=kept)) as address:
        http = client(address)
        (head,) = http.get("/conversations").json()
        assert (head["id"], head["title"]) == (key, "Books")
        messages = http.get(f"/conversations/{key}").json()["messages"]
        assert [one["role"] for one in messages] == ["user", "assistant"] * 2
        assert messages[1]["content"] == "Books stand on the shelf [1]."
        assert messages[1]["about"]["sources"][0]["cited"]
        assert messages[3]["about"]["error"]["code"] == "step_error"
        text = http.get(f"/conversations/{key}/export")
        assert text.headers["content-disposition"].startswith("attachment")
        assert "- [1] shelf.md: Books stand on the shelf." in text.text
        as_json = http.get(f"/conversations/{key}/export", params={"format": "json"}).json()
        assert as_json["messages"] == messages
        assert http.delete(f"/conversations/{key}").status_code == 204
        assert http.get(f"/conversations/{key}").status_code == 404
        http.post("/conversations")
        assert http.delete("/conversations").status_code == 204
        assert http.get("/conversations").json() == []


def test_an_answer_that_was_stopped_is_kept_as_far_as_it_came(
    tmp_path: Path, client: Any, doors: Doors
) -> None:
    with running(local(toy(), settings=Settings(data=tmp_path / "data"))) as address:
        http = client(address)
        key = http.post("/conversations").json()["id"]
        body = {"query": "Books", "conversation": key, "stream": True}
        with http.stream("POST", "/ask", json=body) as response:
            for line in response.iter_lines():
                if line == "event: token":
                    break
        messages: list[dict[str, Any]] = []
        while len(messages) < 2:
            messages = http.get(f"/conversations/{key}").json()["messages"]
        assert "Books stand on the shelf [1].".startswith(messages[1]["content"][:5])


def test_an_answer_that_was_stopped_before_it_began_is_in_the_conversation(
    tmp_path: Path, client: Any, doors: Doors
) -> None:
    doors.shut()
    with running(local(toy(), settings=Settings(data=tmp_path / "data"))) as address:
        http = client(address)
        key = http.post("/conversations").json()["id"]
        body = {"query": "Books", "conversation": key, "stream": True}
        with http.stream("POST", "/ask", json=body) as response:
            for line in response.iter_lines():
                if line == "event: node_started":
                    break
        messages: list[dict[str, Any]] = []
        while len(messages) < 2:
            messages = http.get(f"/conversations/{key}").json()["messages"]
        assert (messages[1]["content"], messages[1]["about"]["stopped"]) == ("", True)
        assert messages[0]["about"]["run"] == messages[1]["about"]["run"]


def test_conversations_are_found_and_renamed(kept: Settings, client: Any) -> None:
    with running(local(toy(), settings=kept)) as address:
        http = client(address)
        keys = []
        for question in ("Boats of the north", "100 % of it", "Maps_and charts"):
            keys.append(http.post("/conversations").json()["id"])
            http.post("/ask", json={"query": question, "conversation": keys[-1]})

        def found(words: str) -> list[str]:
            heads = http.get("/conversations", params={"q": words}).json()
            return [one["id"] for one in heads]

        assert found("") == keys[::-1]
        assert found("NORTH boats") == [keys[0]]
        assert found("north maps") == []
        assert found("stand on") == keys[::-1]  # in the answers
        assert found("%") == [keys[1]]
        assert found("_") == [keys[2]]
        assert http.patch(f"/conversations/{keys[0]}", json={"title": " A\n B "}).status_code == 204
        assert http.get(f"/conversations/{keys[0]}").json()["title"] == "A B"
        assert http.patch(f"/conversations/{keys[0]}", json={"title": "  "}).status_code == 422
        assert http.patch(f"/conversations/{'0' * 32}", json={"title": "A"}).status_code == 404


def test_a_question_takes_the_place_of_an_earlier_one(kept: Settings, client: Any) -> None:
    with running(local(toy(), settings=kept)) as address:
        http = client(address)
        key = http.post("/conversations").json()["id"]

        def ask(query: str, **more: Any) -> Any:
            return http.post("/ask", json={"query": query, "conversation": key, **more})

        def read() -> Any:
            return http.get(f"/conversations/{key}").json()

        for query in ("Books", "Maps", "Charts"):
            ask(query)
        first, _, second, answer, *_ = [one["number"] for one in read()["messages"]]
        assert ask("Boats", instead_of=answer).status_code == 404
        assert ask("Boats", instead_of=second).status_code == 200
        found = read()
        asked = [one["content"] for one in found["messages"] if one["role"] == "user"]
        assert (found["title"], asked) == ("Books", ["Books", "Boats"])
        ask("Locks", instead_of=first)
        assert (read()["title"], len(read()["messages"])) == ("Locks", 2)
        http.patch(f"/conversations/{key}", json={"title": "Mine"})
        ask("Ferries", instead_of=read()["messages"][0]["number"])
        assert read()["title"] == "Mine"
        refused = http.post("/ask", json={"query": "Books", "instead_of": first})
        assert (refused.status_code, refused.json()["where"]) == (422, "instead_of")
        other = http.post("/conversations").json()["id"]
        foreign = read()["messages"][0]["number"]
        body = {"query": "Books", "conversation": other, "instead_of": foreign}
        assert http.post("/ask", json=body).status_code == 404
        assert len(read()["messages"]) == 2


WRITTEN = "Who may open the north lock at night?"
HISTORY = [
    {"role": "user", "content": "Who may open the north lock?"},
    {"role": "assistant", "content": "The keeper on duty."},
]


def with_model(llm: ScriptedLLM) -> Flow:
    """A flow whose search gets the question, and whose model may rewrite it."""
    documents = [Document(id="a", page_content="The keeper opens it.", metadata={"path": "a"})]

    @operator(writes="documents")
    def find(query: str) -> list[Document]:
        """Find the same for every question."""
        return documents

    return Flow(find() >> Generate(), name="asks", resources={"llm": llm})


def test_a_question_that_refers_to_its_history_is_rewritten(tmp_path: Path, client: Any) -> None:
    llm = ScriptedLLM({"condense_query": WRITTEN, "generate": "The keeper."})
    with running(local(with_model(llm), settings=Settings(data=tmp_path / "data"))) as address:
        http = client(address)
        body = {"query": "And at night?", "history": HISTORY}
        answer = http.post("/ask", json=body).json()
        assert (answer["query"], answer["answer"]) == (WRITTEN, "The keeper.")
        assert llm.names == ["condense_query", "generate"]
        assert llm.prompts[1].question == WRITTEN
        assert answer["usage"]["llm_calls"] == 2
        assert http.get(f"/runs/{answer['run']}").json()["llm_calls"] == 2
        events = sent(http.post("/ask", json={**body, "stream": True}).text)
        assert ("rewritten", {"query": WRITTEN}) in events
        alone = {"query": "What does the ferry cost?", "history": HISTORY, "stream": True}
        events = dict(sent(http.post("/ask", json=alone).text))
        assert set(events) == {"run", "node_started", "node_finished", "token", "done"}
        assert events["done"]["query"] == "What does the ferry cost?"
        assert events["done"]["usage"]["llm_calls"] == 1


def test_a_conversation_is_the_history(tmp_path: Path, client: Any) -> None:
    llm = ScriptedLLM({"condense_query": WRITTEN, "generate": "The keeper."})
    with running(local(with_model(llm), settings=Settings(data=tmp_path / "data"))) as address:
        http = client(address)
        key = http.post("/conversations").json()["id"]
        for query in ("Who may open the north lock?", "And at night?"):
            answer = http.post("/ask", json={"query": query, "conversation": key}).json()
        assert answer["query"] == WRITTEN
        asked = llm.prompts[1].question
        assert asked.startswith("Question: Who may open the north lock?\nAnswer: The keeper.\nLast")
        kept = http.get(f"/conversations/{key}").json()["messages"]
        assert [one["content"] for one in kept] == [
            "Who may open the north lock?", "The keeper.", "And at night?", "The keeper.",
        ]  # fmt: skip


@operator(writes="answer")
def recited(query: str, history: list[dict[str, str]] | None = None) -> str:
    """Answer with the earlier questions and the number of messages."""
    messages = history or []
    asked = [one["content"] for one in messages if one["role"] == "user"]
    return f"{' '.join(asked)} ({len(messages)})"


def test_a_flow_that_reads_the_history_gets_it(tmp_path: Path, client: Any) -> None:
    inputs = {"query": str, "history": list[dict[str, str]] | None}
    flow = Flow(recited(), name="recites", inputs=inputs)
    with running(local(flow, settings=Settings(data=tmp_path / "data"))) as address:
        http = client(address)
        key = http.post("/conversations").json()["id"]
        for number in range(6):
            answer = http.post("/ask", json={"query": f"q{number}", "conversation": key}).json()
        assert answer["answer"] == "q1 q2 q3 q4 (8)"
