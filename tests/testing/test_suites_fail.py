"""The suites find what is wrong: each mistake fails the test that is named for it."""

from __future__ import annotations

import subprocess
import sys

import pytest

OPERATORS = '''
import asyncio
import itertools
from rag import Document, Operator, operator
from rag.testing import OperatorSuite

COUNTER = itertools.count()
DOCUMENTS = [Document(page_content="a b"), Document(page_content="c")]


class Base(OperatorSuite):
    inputs = {"documents": DOCUMENTS}


@operator(writes="documents")
def good(documents: list[Document]) -> list[Document]:
    """Keep all."""
    return list(documents)


@operator(writes="documents")
def changes(documents: list[Document]) -> list[Document]:
    """Change its input."""
    for document in documents:
        document.metadata["seen"] = True
    return documents


@operator(writes="documents")
def lies(documents: list[Document]) -> list[Document]:
    """Write another type."""
    return len(documents)


@operator(writes="documents")
def counts(documents: list[Document]) -> list[Document]:
    """Differ from run to run."""
    return [Document(page_content=str(next(COUNTER)))]


@operator(writes="documents")
def needs(documents: list[Document]) -> list[Document]:
    """Expect documents."""
    return [documents[0]]


@operator(writes="documents")
def untyped(documents) -> list[Document]:
    """Say nothing of its input."""
    return documents


@operator(writes="documents")
def bare(documents: list[Document]) -> list[Document]:
    return list(documents)


class Loose(Operator):
    """Take any setting."""

    model_config = {"extra": "allow"}
    writes = "documents"

    def run(self, documents: list[Document]) -> list[Document]:
        return list(documents)


class Keeps(Operator):
    """Leave a task behind."""

    writes = "documents"

    async def run(self, documents: list[Document]) -> list[Document]:
        Keeps.task = asyncio.get_running_loop().create_task(asyncio.sleep(60))
        await asyncio.sleep(0.001)
        return list(documents)


class Held:
    """Not equal to its copy, and without a digest."""


class Holds(Operator):
    """Hold an object."""

    writes = "documents"
    held: object = None

    def run(self, documents: list[Document]) -> list[Document]:
        return list(documents)


class TestGood(Base):
    operator = good()
    expected = {"documents": DOCUMENTS}
class TestChanges(Base):
    operator = changes()
class TestLies(Base):
    operator = lies()
class TestCounts(Base):
    operator = counts()
class TestNeeds(Base):
    operator = needs()
class TestUntyped(Base):
    operator = untyped()
class TestBare(Base):
    operator = bare()
class TestLoose(Base):
    operator = Loose()
class TestKeeps(Base):
    operator = Keeps()
class TestHolds(Base):
    operator = Holds(held=Held())
'''
MISTAKES: dict[str, set[str]] = {
    "Good": set(),
    "Changes": {"does_not_change_its_inputs"},
    "Lies": {
        "it_writes_what_it_declares",
        "survives_empty_inputs",
        "a_cancelled_run",
        "runs_alike",
        "two_runs",
        "does_not_change",
    },
    "Counts": {"runs_alike_in_an_event_loop", "two_runs_at_once"},
    "Needs": {"survives_empty_inputs"},
    "Untyped": {"types_are_declared"},
    "Bare": {"it_is_documented"},
    "Loose": {"an_unknown_setting_is_refused"},
    "Keeps": {"a_cancelled_run_leaves_nothing"},
    "Holds": {
        "configuration_can_be_copied",
        "is_written_to_yaml",
        "fingerprint_is_the_same",
        "fingerprint_depends",
    },
}

TIERS = """
import pytest
from rag.kvcache.store import MemoryTier
from rag.testing import TierSuite


class Forgets(MemoryTier):
    def delete(self, key):
        pass


class Mixes(MemoryTier):
    last = None

    def put(self, key, entry):
        super().put(key, entry)
        self.last = entry

    def get(self, key):
        return self.last if super().get(key) else None


class TestForgets(TierSuite):
    outlives = False

    @pytest.fixture
    def open_tier(self):
        return lambda: Forgets(1 << 24)


class TestMixes(TierSuite):
    outlives = False

    @pytest.fixture
    def open_tier(self):
        return lambda: Mixes(1 << 24)
"""

COMPOSERS = '''
import torch
from typing import ClassVar
from rag.kvcache.composers.concat import Concat
from rag.kvcache.composers.full import Full
from rag.testing import ComposerSuite


class Off(Full):
    """Not what it says."""

    mode: ClassVar[str] = "off"

    def compose(self, composition):
        done = yield from super().compose(composition)
        done.logits = done.logits + torch.rand(()) + 1
        return done


class Claims(Concat):
    """Not exact."""

    mode: ClassVar[str] = "claims"
    kind: ClassVar[str] = "exact"


class TestOff(ComposerSuite):
    mode = "off"
    architectures = ("llama",)


class TestClaims(ComposerSuite):
    mode = "claims"
    architectures = ("llama",)
'''

SUITES = ("TierSuite", "RunStoreSuite", "StoreSuite", "EmbedderSuite", "LLMSuite")


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What pytest writes about all of these, in one process."""
    folder = tmp_path_factory.mktemp("samples")
    bare = "\n".join(f"class Test{one}({one}): pass" for one in SUITES)
    bare = f"from rag.testing import {', '.join(SUITES)}\n{bare}\n"
    samples = {"operators": OPERATORS, "tiers": TIERS, "composers": COMPOSERS, "bare": bare}
    for name, text in samples.items():
        (folder / f"test_{name}.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-q", "-rf", "--tb=line", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert " passed" in done.stdout, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def failed(output: str) -> set[str]:
    """The tests that fail: `TestX::test_y`."""
    lines = [line for line in output.splitlines() if line.startswith("FAILED ")]
    return {line.split(" - ")[0].partition("::")[2] for line in lines}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_of_an_operator_is_found(name: str, failed: set[str]) -> None:
    own = {one.partition("::test_")[2] for one in failed if one.startswith(f"Test{name}::")}
    missed = [part for part in MISTAKES[name] if not any(part in one for one in own)]
    more = [one for one in own if not any(part in one for part in MISTAKES[name])]
    assert (missed, more) == ([], [])


def test_a_tier_that_errs_is_found(failed: set[str]) -> None:
    listed = "test_entries_are_listed_counted_and_deleted"
    assert {f"TestForgets::{listed}", f"TestMixes::{listed}"} <= failed


def test_a_composer_that_errs_is_found(failed: set[str]) -> None:
    exact = "test_everything_computed_again_is_full_prefill[llama]"
    wanted = {f"TestOff::{exact}", f"TestClaims::{exact}", "TestOff::test_it_is_deterministic"}
    assert wanted <= failed
    assert "TestClaims::test_a_chunk_behind_the_prefix_alone_is_full_prefill[llama]" not in failed


@pytest.mark.parametrize("fixture", ["open_tier", "open_store", "address", "embedder", "llm"])
def test_a_subclass_without_its_fixture_is_told_which(fixture: str, output: str) -> None:
    assert f"override the fixture {fixture}" in output
