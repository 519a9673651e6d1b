"""Random flows of random parts: what the check lets through never fails for want of a channel."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings, target
from hypothesis import strategies as st

from rag.errors import BuildError
from rag.flow import Flow, Loop, Map, Node, Parallel, Recurse, Route, Sequence, operator

CHANNELS = ("a", "b", "c", "d")
TYPES = (int, str, list[int], list[str], int | None)
INPUTS = {"a": int, "b": str, "c": list[int]}
VALUES: dict[str, Any] = {"a": 2, "b": "text", "c": [1, 2]}


@operator(writes="x")
def more(x: int) -> int:
    return x + 1


@operator(writes="x")
def text(x: int | str) -> str:
    return str(x)[:8]


@operator(writes="x")
def length(x: str) -> int:
    return len(x)


@operator(writes="x")
def many(x: int) -> list[int]:
    return [x, x + 1]


@operator(writes="x")
def perhaps(x: int, y: int | None = None) -> int | None:
    return x if y is None else None


@operator(writes=("x", "y"))
def two(x: Any) -> tuple[int, list[str]]:
    return 1, [str(x)[:4]]


@operator(writes="x")
def first(x: list[Any]) -> int:
    return len(x)


@operator(writes="x")
def keys(x: dict[str, Any]) -> int:
    return len(x)


names = st.sampled_from(CHANNELS)
PARTS = (more, text, length, many, perhaps, two, first, keys)


@st.composite
def step(draw: st.DrawFn, kinds: tuple[Any, ...] = PARTS) -> Any:
    kind = draw(st.sampled_from(kinds))
    signature = kind.signature()
    return kind(
        inputs={port.name: draw(names) for port in signature.reads},
        outputs={port.name: draw(names) for port in signature.writes},
    )


def composed(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    branches = st.dictionaries(st.sampled_from(["p", "q"]), inner, min_size=1, max_size=2)
    joins = st.none() | step((first, keys, two))
    carry = st.none() | st.lists(names, unique=True, max_size=2).map(tuple)
    by = st.sampled_from(["a", "b", "c == 1", "d"])
    return st.one_of(
        st.builds(lambda nodes: Sequence(*nodes), st.lists(inner, min_size=1, max_size=4)),
        st.builds(Parallel, branches, join=joins),
        st.builds(Map, over=names, as_=names, body=inner, join=joins),
        st.builds(Route, by=by, cases=st.fixed_dictionaries({"2": inner}), default=inner),
        st.builds(
            Loop,
            body=inner,
            max_turns=st.integers(1, 3),
            until=st.none() | st.sampled_from(["turn > 1", "c == 1", "d"]),
            carry=carry,
            history=st.none() | names,
        ),
        st.builds(Recurse, base=inner, max_depth=st.integers(1, 2)),
    )


nodes = st.recursive(step(), composed, max_leaves=6)


@given(st.lists(nodes, min_size=1, max_size=15))
@settings(max_examples=250, deadline=None)
def test_a_checked_flow_never_fails_for_a_missing_or_mistyped_channel(found: list[Node]) -> None:
    kept: list[Node] = []
    flow = None
    # Most random parts do not fit; what the check lets through is put after what fitted so far.
    for node in found:
        try:
            flow = Flow(Sequence(*kept, node), inputs=INPUTS, outputs=["a"])
        except BuildError:
            continue
        kept.append(node)
    if flow is not None:
        target(float(len(kept)))
        assert flow.invoke(**VALUES).keys() == {"a"}
