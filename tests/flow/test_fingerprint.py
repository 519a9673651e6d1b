"""What makes a step another one: for its cached results, and for what a stored run wrote."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rag import Checkpoints
from rag.flow import Flow, operator
from rag.flow.memory.fingerprint import Fingerprints, fingerprint
from rag.flow.run.events import NodeStarted, Reused
from tests.flow.bricks import inc

INT = {"x": int}

SOURCE = """
import functools, logging, threading
from dataclasses import dataclass
from rag.flow import Operator, operator
import helping

LOG, LOCK = logging.getLogger("x"), threading.Lock()
FACTOR = 2
TABLE = {"by": 3}
SEEN = []
CALLS = 0

class Helper:
    scale = 1
    def __init__(self, by): self.by = by
    def apply(self, x): return x * self.by * self.scale

@dataclass
class Setting:
    by: int = 1

SETTING = Setting()
OBJECT = Helper(1)

def far(x): return x * FACTOR
def near(x): return far(x) + 1

@functools.lru_cache
def remembered(x): return x + 10

def even(x): return x == 0 or odd(x - 1)
def odd(x): return x != 0 and even(x - 1)

@operator(writes="x")
def calls(x: int) -> int:
    LOG.info("x")
    SEEN.append(x)
    with LOCK:
        return near(x) + remembered(x)

@operator(writes="x")
def table(x: int) -> int:
    return x * TABLE["by"] * SETTING.by

@operator(writes="x")
def objects(x: int) -> int:
    return Helper(2).apply(x) + OBJECT.apply(x)

@operator(writes="x")
def module(x: int) -> int:
    return helping.clean(x)

@operator(writes="x")
def circle(x: int) -> int:
    return int(even(x))

@operator(writes="x")
def inner(x: int) -> int:
    return sum((lambda y: near(y))(y) for y in [x])

@operator(writes="x")
def counts(x: int) -> int:
    global CALLS
    CALLS += 1
    return x + CALLS

class Scaled(Operator):
    writes = "x"
    light = True
    by: int = 1
    def run(self, x: int) -> int:
        return self._scaled(x)
    def _scaled(self, x: int) -> int:
        return x * self.by * self.twice
    @property
    def twice(self) -> int:
        return 2
"""
HELPING = "def clean(x):\n    return x + deep(x)\ndef deep(x):\n    return 1\n"


def project(source: str = SOURCE, helping: str = HELPING) -> ModuleType:
    """The project's module, as a process would import it."""
    modules = {}
    for name, text in (("helping", helping), ("project", source)):
        modules[name] = sys.modules[name] = ModuleType(name)
        exec(compile(text, name, "exec"), vars(modules[name]))  # noqa: S102
    return modules["project"]


@pytest.fixture(autouse=True)
def _no_project(monkeypatch: pytest.MonkeyPatch) -> Any:
    yield
    for name in ("helping", "project"):
        sys.modules.pop(name, None)


EDITS = [
    ("calls", "far(x) + 1", "far(x) + 2"),
    ("calls", "FACTOR = 2", "FACTOR = 3"),
    ("calls", "x * FACTOR", "FACTOR + x"),
    ("calls", "return x + 10", "return x + 11"),
    ("inner", "x * FACTOR", "FACTOR + x"),
    ("table", '{"by": 3}', '{"by": 4}'),
    ("table", "by: int = 1", "by: int = 2"),
    ("objects", "x * self.by * self.scale", "x + self.by * self.scale"),
    ("objects", "scale = 1", "scale = 2"),
    ("objects", "OBJECT = Helper(1)", "OBJECT = Helper(7)"),
    ("circle", "x != 0 and", "x > 0 and"),
    ("module", "return x + deep(x)", "return x - deep(x)"),
    ("module", "return 1", "return 2"),
    ("Scaled", "x * self.by * self.twice", "x + self.by * self.twice"),
    ("Scaled", "return 2", "return 3"),
]


@pytest.mark.parametrize(("name", "old", "new"), EDITS)
def test_what_a_step_calls_and_reads_makes_it_another_one(name: str, old: str, new: str) -> None:
    assert old in SOURCE + HELPING
    before = getattr(project(), name)()
    same = getattr(project(), name)()
    digests = [fingerprint(before), Fingerprints().of(before)]
    assert [fingerprint(same), Fingerprints().of(same)] == digests
    edited = project(SOURCE.replace(old, new), HELPING.replace(old, new))
    after = getattr(edited, name)()
    assert fingerprint(after) != digests[0]
    assert Fingerprints().of(after) != digests[1]


def test_what_nobody_calls_makes_no_difference() -> None:
    before = {name: fingerprint(getattr(project(), name)()) for name, *_ in EDITS}
    edited = project(SOURCE + "\ndef another(x): return 1\nWHATEVER = 5\n", HELPING + "\nX = 1\n")
    assert {name: fingerprint(getattr(edited, name)()) for name, *_ in EDITS} == before
    edited = project(SOURCE.replace('{"by": 3}', '{"by": 4}'))
    after = {name: fingerprint(getattr(edited, name)()) for name, *_ in EDITS}
    assert {name for name in before if after[name] != before[name]} == {"table"}


def test_what_a_step_only_adds_to_makes_no_difference() -> None:
    loaded = project()
    before = fingerprint(loaded.calls())
    loaded.SEEN.append(1)
    assert fingerprint(loaded.calls()) == before


def test_a_step_that_counts_is_not_cached_and_yet_the_same_when_a_run_is_resumed() -> None:
    loaded = project()
    step, known = loaded.counts(), Fingerprints()
    cached, stored = fingerprint(step), known.of(step)
    loaded.CALLS += 1
    assert fingerprint(step) != cached
    assert known.of(step) == stored
    loaded.TABLE["by"] = 9
    assert known.of(loaded.table()) == Fingerprints().of(loaded.table())


# Results that are cached


def results(flow: Flow, *changes: Any) -> list[int]:
    found = [flow.invoke(x=1)["x"]]
    for change in changes:
        change()
        found.append(flow.invoke(x=1)["x"])
    return found


def test_a_closure_that_changes_gives_no_stale_result() -> None:
    by, table = 1, {"by": 1}

    @operator(writes="x")
    def add(x: int) -> int:
        return x + by

    @operator(writes="x")
    def look(x: int) -> int:
        return x + table["by"]

    def more() -> None:
        nonlocal by
        by += 10

    def less() -> None:
        nonlocal by
        by -= 10

    flow = Flow(add(cache=True), inputs=INT)
    assert results(flow, more, less) == [2, 12, 2]
    looking = Flow(look(cache=True), inputs=INT)
    assert results(looking, lambda: table.update(by=5)) == [2, 6]


def test_what_a_module_holds_gives_no_stale_result() -> None:
    loaded = project()
    flow = Flow(loaded.calls(cache=True), inputs=INT)
    assert results(flow, lambda: setattr(loaded, "FACTOR", 5)) == [14, 17]
    assert results(flow, lambda: setattr(loaded, "far", lambda x: 0)) == [17, 12]
    looking = Flow(loaded.table(cache=True), inputs=INT)
    assert results(looking, lambda: loaded.TABLE.update(by=4)) == [3, 4]
    assert results(looking, lambda: setattr(loaded.SETTING, "by", 2)) == [4, 8]


def test_an_unchanged_project_is_cached() -> None:
    loaded = project()
    for name in ("calls", "table", "objects", "module", "circle", "inner", "Scaled"):
        flow = Flow(getattr(loaded, name)(cache=True), inputs=INT)
        flow.invoke(x=1)
        assert isinstance(next(iter(flow.stream(x=1))), Reused), name


# What a stored run wrote


def resumed(tmp_path: Path, name: str, before: ModuleType, after: ModuleType) -> list[str]:
    """The places that run when a run is resumed whose last step failed."""

    @operator(writes="x")
    def fails(x: int, *, broken: bool = True) -> int:
        if broken:
            raise OSError("away")
        return x

    def flow(module: ModuleType, *, broken: bool) -> Flow:
        return Flow(inc() >> getattr(module, name)() >> fails(broken=broken), inputs=INT)

    with Checkpoints(tmp_path / "runs") as checkpoints:
        run = checkpoints.start(flow(before, broken=True), x=1)
        with pytest.raises(Exception, match="away"):
            run.invoke()
        events = list(checkpoints.resume(flow(after, broken=False), run.id).stream())
    return [event.node for event in events if isinstance(event, NodeStarted)]


@pytest.mark.parametrize(("name", "old", "new"), EDITS[:8])
def test_after_an_edit_of_code_that_a_step_calls_it_runs_again(
    tmp_path: Path, name: str, old: str, new: str
) -> None:
    before = project()
    after = project(SOURCE.replace(old, new))
    assert resumed(tmp_path, name, before, after) == [name, "fails"]


@pytest.mark.parametrize("name", ["calls", "counts", "table", "objects"])
def test_without_an_edit_what_a_step_wrote_counts(tmp_path: Path, name: str) -> None:
    assert resumed(tmp_path, name, project(), project()) == ["fails"]


def test_a_function_that_was_replaced_in_a_notebook_runs_again(tmp_path: Path) -> None:
    loaded, broken = project(), [True]

    @operator(writes="x")
    def fails(x: int) -> int:
        if broken.pop():
            raise OSError("away")
        return x

    flow = Flow(loaded.calls() >> fails(), inputs=INT)
    with Checkpoints(tmp_path / "runs") as checkpoints:
        run = checkpoints.start(flow, x=1)
        with pytest.raises(Exception, match="away"):
            run.invoke()
        broken.append(False)
        loaded.far = lambda x: 100
        assert checkpoints.resume(flow, run.id).invoke() == {"x": 112}


ALONE = """
import sys
from pathlib import Path
from rag.flow.memory.fingerprint import Fingerprints, fingerprint
sys.path.insert(0, sys.argv[1])
import project
names = ("calls", "table", "objects", "module", "circle", "inner", "Scaled")
print([(fingerprint(step), Fingerprints().of(step))
       for step in (getattr(project, name)() for name in names)])
"""


def test_every_process_finds_the_same_fingerprints(tmp_path: Path) -> None:
    (tmp_path / "project.py").write_text(SOURCE)
    (tmp_path / "helping.py").write_text(HELPING)
    found = set()
    for seed in ("1", "2"):
        call = [sys.executable, "-c", ALONE, str(tmp_path)]
        env = {"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)}
        found.add(subprocess.run(call, env=env, capture_output=True, check=True).stdout)
    assert len(found) == 1
