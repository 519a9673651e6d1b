"""Orders of the context whose beginning was read before."""

from __future__ import annotations

import random
from itertools import takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.documents import Document

from rag.errors import BuildError
from rag.flow import Flow, load_flow
from rag.operators import OrderForReuse
from rag.operators.context_orders import ContextOrders


def sizes(*names: str) -> dict[str, int]:
    return dict.fromkeys(names, 1)


def shared(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def test_without_earlier_orders_the_most_relevant_comes_first() -> None:
    assert ContextOrders().order(sizes("b", "a", "c")) == ("b", "a", "c")


def test_the_longest_beginning_of_an_earlier_order_is_repeated() -> None:
    orders = ContextOrders()
    orders.order(sizes("a", "b", "c"))
    orders.order(sizes("b", "d"))
    assert orders.order(sizes("d", "e", "c", "b", "a")) == ("a", "b", "c", "d", "e")


def test_the_longest_is_meant_by_size() -> None:
    orders = ContextOrders()
    orders.order({"a": 1, "b": 1, "x": 9})
    orders.order({"c": 5, "y": 9})
    assert orders.order({"a": 1, "b": 1, "c": 5}) == ("c", "a", "b")


def test_what_is_frequent_comes_before_what_is_not() -> None:
    orders = ContextOrders()
    for name in "pqr":
        orders.order(sizes(name, "often"))
    assert orders.order(sizes("new", "often")) == ("often", "new")


@given(st.lists(st.sets(st.integers(0, 9), min_size=1, max_size=5), min_size=1, max_size=20))
def test_an_order_is_a_permutation_and_nothing_longer_could_be_repeated(
    requests: list[set[int]],
) -> None:
    orders = ContextOrders()
    earlier: list[tuple[str, ...]] = []
    for request in requests:
        names = [str(one) for one in request]
        found = orders.order(sizes(*names))
        assert sorted(found) == sorted(names)
        possible = [
            len([*takewhile(lambda one: one in names, order)])  # noqa: B023
            for order in earlier
        ]
        assert max((shared(found, order) for order in earlier), default=0) == max(
            possible, default=0
        )
        earlier.append(found)


def test_orders_that_were_not_used_for_longest_are_forgotten() -> None:
    orders = ContextOrders(max_orders=2)
    orders.order(sizes("a", "b"))
    orders.order(sizes("c", "d"))
    orders.order(sizes("b", "a"))  # the first one again
    orders.order(sizes("e", "f"))
    assert orders.order(sizes("d", "c")) == ("d", "c")
    assert orders.order(sizes("f", "e")) == ("e", "f")


def test_frequent_passages_make_beginnings_that_repeat() -> None:
    chance = random.Random(0)  # noqa: S311
    weights = [1 / rank for rank in range(1, 201)]
    orders, plain, ordered = ContextOrders(), set[tuple[str, ...]](), set[tuple[str, ...]]()
    reused = {"plain": 0, "ordered": 0}
    for _ in range(300):
        names = [str(one) for one in dict.fromkeys(chance.choices(range(200), weights, k=6))]
        pairs = (("plain", plain, (*names,)), ("ordered", ordered, orders.order(sizes(*names))))
        for kind, seen, order in pairs:
            beginnings = [order[:end] for end in range(1, len(order) + 1)]
            reused[kind] += sum(one in seen for one in beginnings)
            seen.update(beginnings)
    assert reused["ordered"] > 1.5 * reused["plain"]


def doc(text: str) -> Document:
    return Document(page_content=text, metadata={"title": text})


def test_documents_are_ordered_across_the_runs_of_a_flow() -> None:
    flow = Flow(OrderForReuse(), inputs={"documents": list[Document]})
    flow.invoke(documents=[doc("lock"), doc("pump")])
    asked = [doc("ice"), doc("pump"), doc("lock"), doc("ice")]
    found = flow.invoke(documents=asked)["documents"]
    assert [(one.page_content, one.metadata["rank"]) for one in found] == [
        ("lock", 3), ("pump", 2), ("ice", 1)
    ]  # fmt: skip
    assert all("rank" not in one.metadata for one in asked)
    assert flow.invoke(documents=[])["documents"] == []


def test_other_flows_have_orders_of_their_own() -> None:
    flows = [Flow(OrderForReuse(), inputs={"documents": list[Document]}) for _ in range(2)]
    flows[0].invoke(documents=[doc("lock"), doc("pump")])
    found = flows[1].invoke(documents=[doc("pump"), doc("lock")])["documents"]
    assert [one.page_content for one in found] == ["pump", "lock"]


def test_a_pipeline_says_how_many_orders_are_remembered() -> None:
    text = """
        inputs: {documents: "list[Document]"}
        resources: {context_orders: {max_orders: %s}}
        steps: [{use: order_for_reuse}]
    """
    assert load_flow(text % 5).invoke(documents=[doc("lock")])["documents"]
    with pytest.raises(BuildError, match="max_orders"):
        load_flow(text % 0)
