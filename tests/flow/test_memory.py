"""Values that outlive a run."""

from __future__ import annotations

import threading
from datetime import date
from pathlib import Path

import pytest
from langchain_core.documents import Document

from rag.errors import BuildError, InputError
from rag.flow import Flow, Memory, operator


@operator(writes="facts")
def learn(fact: str, user: str, *, memory: Memory) -> list[str]:
    """Add a fact to what is known of a user."""
    known: list[str] = memory.update(user, "facts", lambda known: [*(known or []), fact])
    return known


INPUTS = {"fact": str, "user": str}


def test_what_a_run_learned_the_next_knows_and_no_other_user(tmp_path: Path) -> None:
    path = tmp_path / "memory.sqlite"
    with Flow(learn(), inputs=INPUTS, resources={"memory": str(path)}) as flow:
        assert flow.invoke(fact="tea", user="ada")["facts"] == ["tea"]
        assert flow.invoke(fact="cats", user="ada")["facts"] == ["tea", "cats"]
        assert flow.invoke(fact="dogs", user="bob")["facts"] == ["dogs"]
    with Flow(learn(), inputs=INPUTS, resources={"memory": {"path": str(path)}}) as flow:
        assert flow.invoke(fact="chess", user="ada")["facts"] == ["tea", "cats", "chess"]


def test_a_memory_must_be_named() -> None:
    with pytest.raises(BuildError, match="path"):
        Flow(learn(), inputs=INPUTS, resources={"memory": {"pth": "x"}})


@pytest.mark.parametrize(
    "value",
    [
        None,
        0,
        {"a": [1, 2.5, True]},
        date(2020, 1, 2),
        {"b", "a"},
        [Document(page_content="text", metadata={"made": date(2020, 1, 2)}, id="1")],
    ],
)
def test_values_come_back_as_they_were(value: object) -> None:
    memory = Memory()
    memory.put("ada", "value", value)
    again = memory.get("ada", "value", "nothing")
    assert again == value
    assert type(again) is type(value)


def test_what_could_not_come_back_is_refused() -> None:
    memory = Memory()
    memory.put("ada", "value", 1)
    with pytest.raises(InputError, match="cannot be stored"):
        memory.put("ada", "value", object())
    assert memory.items("ada") == {"value": 1}


def test_names_and_owners_are_forgotten() -> None:
    memory = Memory()
    for owner in ("ada", "bob"):
        for name in ("one", "two"):
            memory.put(owner, name, name)
    memory.delete("ada", "one")
    assert memory.items("ada") == {"two": "two"}
    memory.delete("bob")
    assert memory.items("bob") == {}
    assert memory.get("bob", "one", "gone") == "gone"


def test_overlapping_runs_lose_nothing(tmp_path: Path) -> None:
    first, second = Memory(tmp_path / "m"), Memory(tmp_path / "m")

    def count(memory: Memory) -> None:
        for _ in range(50):
            memory.update("ada", "n", lambda n: (n or 0) + 1)

    threads = [threading.Thread(target=count, args=(memory,)) for memory in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert first.get("ada", "n") == 100
    first.close()
    second.close()


def test_its_version_changes_with_every_write(tmp_path: Path) -> None:
    memory, other = Memory(tmp_path / "m"), Memory(tmp_path / "m")
    before = memory.version()
    other.put("ada", "a", 1)
    assert memory.version() != before
    memory.close()
    other.close()
