"""Pipeline files: there and back, and what is said of wrong ones."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema_rs import Draft202012Validator

from rag.errors import BuildError, ConfigError, RagError
from rag.flow import (
    Budget,
    Flow,
    Interrupt,
    Loop,
    Map,
    Node,
    Parallel,
    Recurse,
    Resource,
    Retry,
    Route,
    Sequence,
    load_flow,
)
from rag.flow.yaml.dump import dump
from rag.flow.yaml.schema import schema
from rag.pipelines import names, path
from tests.flow.bricks import REGISTRY, Scale, expand, find, fuse, inc, nap, top, total
from tests.pipeline_schema import as_json, validator

steps = st.one_of(
    st.builds(inc, by=st.integers(-5, 5)),
    st.builds(inc, name=st.sampled_from(["a", "b"]), fallback=st.just(inc(by=7))),
    st.builds(inc, timeout=st.just(9.0), retry=st.just(Retry(times=1, on=("OSError",)))),
    st.builds(nap, seconds=st.just(0.0)),
    st.builds(Scale, factor=st.integers(1, 3)),
)


def composed(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    branches = st.dictionaries(st.sampled_from(["p", "q", "r"]), inner, min_size=1, max_size=3)
    join = st.just(total(outputs={"total": "x"}))
    cases = st.dictionaries(st.sampled_from(["1", "2", "many"]), inner, min_size=1, max_size=3)
    body = st.builds(lambda node: node >> inc(), inner)
    mapped = st.builds(
        lambda node: Parallel(
            l=inc(outputs={"x": "one"}), r=inc(outputs={"x": "two"})
        ) >> Map(over="xs", as_="x", body=node, join=total(outputs={"total": "x"})),
        inner,
    )  # fmt: skip
    return st.one_of(
        st.builds(lambda nodes: Sequence(*nodes), st.lists(inner, min_size=1, max_size=3)),
        st.builds(Parallel, branches, join=join, on_error=st.sampled_from(["fail", "skip"])),
        st.builds(Route, by=st.just("x"), cases=cases, default=inner),
        st.builds(
            _loop,
            body,
            st.integers(1, 3),
            st.none() | st.just("x > 2"),
            st.none() | st.just("turns"),
        ),
        mapped,
    )


def _loop(body: Node, max_turns: int, until: str | None, history: str | None) -> Loop:
    # A body that keeps turns of its own takes the name.
    taken = "history='turns'" in repr(body)
    return Loop(body=body, max_turns=max_turns, until=until, history=None if taken else history)


nodes = st.recursive(steps, composed, max_leaves=8)


@given(nodes)
@settings(max_examples=150, deadline=None)
def test_yaml_and_back_is_the_same_flow(node: Node) -> None:
    flow = Flow(node, inputs={"x": int, "xs": list[int]}, name="random", budget=Budget(tokens=9))
    text = dump(flow, REGISTRY)
    again = load_flow(text, registry=REGISTRY)
    assert again == flow
    assert dump(again, REGISTRY) == text
    assert again.invoke(x=1, xs=[1, 2]) == flow.invoke(x=1, xs=[1, 2])


@cache
def of_bricks() -> Draft202012Validator:
    """The schema of pipelines that are made of the bricks."""
    return Draft202012Validator(schema(REGISTRY))


@given(st.recursive(steps, composed, max_leaves=3))
@settings(max_examples=100, deadline=None)
def test_what_is_written_fits_the_schema(node: Node) -> None:
    inner = Flow(node >> Interrupt("ok?", show=("x",)), inputs={"x": int, "xs": list[int]})
    flow = Flow(
        inner.at(name="inner") >> Recurse(base=inc(cache=True), max_depth=2),
        inputs={"x": int, "xs": list[int]},
        outputs=["x"],
    )
    text = dump(flow, REGISTRY)
    assert load_flow(text, registry=REGISTRY) == flow
    of_bricks().validate(as_json(text))


@pytest.mark.parametrize("name", names())
def test_ready_made_flows_fit_the_schema(name: str) -> None:
    validator().validate(as_json(path(name)))


@pytest.mark.parametrize(
    "text",
    [
        "steps: [{use: nothing, k: 3}]",
        "steps: [{use: inc, bye: 2}]",
        "steps: [{use: inc, by: many}]",
        "steps: [{loop: {until: x > 1}, body: {use: inc}}]",
        "steps: [{parallel: {}}]",
        "step: []",
    ],
)
def test_the_schema_refuses_what_loading_refuses(text: str) -> None:
    assert not of_bricks().is_valid(as_json(text))
    with pytest.raises(RagError):
        load_flow(f"inputs: {{x: int}}\n{text}\n", registry=REGISTRY)


def test_a_parameter_fits_where_a_number_is_wanted() -> None:
    of_bricks().validate({"steps": [{"use": "inc", "by": "${STEP:3}"}]})


def test_a_file_includes_another_from_its_folder(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    inner = "inputs: {x: int}\noutputs: [x]\nsteps:\n  - {use: inc, by: '${STEP:1}'}\n"
    (tmp_path / "parts" / "inc.yaml").write_text(inner)
    outer = "inputs: {x: int}\nsteps:\n  - {flow: parts/inc.yaml, outputs: {x: y}, name: more}\n"
    (tmp_path / "outer.yaml").write_text(outer)
    flow = load_flow(tmp_path / "outer.yaml", registry=REGISTRY, params={"STEP": 4})
    assert flow.invoke(x=1) == {"x": 1, "y": 5}
    assert load_flow(dump(flow, REGISTRY), registry=REGISTRY) == flow


INCLUDES = [
    ("../secret.yaml", "outside the pipeline's folder"),
    ("/etc/passwd", "outside the pipeline's folder"),
    ("none.yaml", "cannot be read"),
    ("outer.yaml", "includes itself"),
    ("cycle.yaml", "includes itself"),
    ("bad.yaml", "bad.yaml:2"),
]


@pytest.mark.parametrize(("name", "what"), INCLUDES)
def test_what_may_not_be_included_is_said(tmp_path: Path, name: str, what: str) -> None:
    folder = tmp_path / "pipelines"
    folder.mkdir()
    (tmp_path / "secret.yaml").write_text("steps: []\n")
    (folder / "cycle.yaml").write_text("steps:\n  - {flow: outer.yaml}\n")
    (folder / "bad.yaml").write_text("steps:\n  - {use: incc}\n")
    (folder / "outer.yaml").write_text(f"steps:\n  - {{flow: {name}}}\n")
    with pytest.raises(RagError, match=re.escape(what)):
        load_flow(folder / "outer.yaml", registry=REGISTRY)


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    folder = tmp_path / "pipelines"
    folder.mkdir()
    (tmp_path / "secret.yaml").write_text("steps: []\n")
    (folder / "link.yaml").symlink_to(tmp_path / "secret.yaml")
    (folder / "outer.yaml").write_text("steps:\n  - {flow: link.yaml}\n")
    with pytest.raises(BuildError, match="outside the pipeline's folder"):
        load_flow(folder / "outer.yaml", registry=REGISTRY)


@pytest.mark.parametrize("name", names())
def test_ready_made_flows_load_and_come_back(name: str) -> None:
    flow = load_flow(path(name))
    assert load_flow(flow.to_yaml()) == flow


def test_the_file_is_not_changed_by_loading_it_twice(tmp_path: Path) -> None:
    text = "steps:\n  - {use: inc, by: 2}\ninputs: {x: int}\n"
    file = tmp_path / "flow.yaml"
    file.write_text(text)
    assert load_flow(file, registry=REGISTRY) == load_flow(file, registry=REGISTRY)
    assert file.read_text() == text


def test_python_and_yaml_say_the_same() -> None:
    python = Flow(
        expand(n=2)
        >> Map(
            over="queries",
            as_="query",
            body=Parallel(a=find(k=1), b=find(), join=fuse()),
            join=fuse(),
        )
        >> Route(by="len(documents) > 2", cases={True: top(), False: Sequence()})
    )
    yaml = """
steps:
  - {use: expand, n: 2}
  - map: {over: queries, as: query}
    body:
      parallel:
        a: {use: find, k: 1}
        b: {use: find}
      join: {use: fuse}
    join: {use: fuse}
  - route:
      by: len(documents) > 2
      cases:
        true: {use: top}
        false: []
"""
    assert load_flow(yaml, registry=REGISTRY) == python


def test_parameters_come_from_the_call_the_environment_or_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = "inputs: {x: int}\nsteps:\n  - {use: inc, by: '${STEP:3}'}\n"
    named = text.replace("STEP", "env:STEP")
    assert load_flow(text, registry=REGISTRY).invoke(x=0) == {"x": 3}
    assert load_flow(text, registry=REGISTRY, params={"STEP": 5}).invoke(x=0) == {"x": 5}
    monkeypatch.setenv("STEP", "7")
    assert load_flow(text, registry=REGISTRY).invoke(x=0) == {"x": 3}
    assert load_flow(named, registry=REGISTRY).invoke(x=0) == {"x": 7}
    monkeypatch.delenv("STEP")
    with pytest.raises(RagError, match="'STEP' has no value"):
        load_flow(text.replace(":3}", "}"), registry=REGISTRY)


WRONG: list[tuple[str, str, str]] = [
    ("steps:\n  - {use: incc}\n", "pipeline:2", "did you mean 'inc'"),
    ("steps:\n  - {use: inc,\n     bye: 2}\n", "pipeline:3", "did you mean 'by'"),
    ("steps:\n  - {use: inc, by: many}\n", "pipeline:2", "inc.by is 'many'"),
    ("steps:\n  - {user: inc}\n", "pipeline:2", "did you mean 'use'"),
    ("step:\n  - {use: inc}\n", "pipeline:1", "did you mean 'steps'"),
    (
        "steps:\n  - loop: {until: x > 1}\n    body: {use: inc}\n",
        "pipeline:2",
        "`max_turns` is missing",
    ),
    ("steps:\n  - loop: {max_turns: 0}\n    body: {use: inc}\n", "pipeline:2", "max_turns is 0"),
    ("steps:\n  - map: {over: x}\n    body: {use: inc}\n", "pipeline:2", "`as` is missing"),
    ("steps:\n  - {use: 'os:system'}\n", "pipeline:2", "--allow-import os"),
    ("inputs: {x: number}\nsteps: []\n", "pipeline:1", "not a type"),
    ("steps: [\n", "pipeline:2", "not YAML"),
    ("steps: []\nsteps: []\n", "pipeline:2", "duplicate key"),
    ("- a\n- b\n", "pipeline", "is a mapping"),
    ("inputs: {x: int}\nsteps:\n  - {use: inc}\n  - {use: top}\n", "pipeline:4", "'documents'"),
]


@pytest.mark.parametrize(("text", "where", "what"), WRONG)
def test_errors_say_where_and_what(text: str, where: str, what: str) -> None:
    with pytest.raises((ConfigError, BuildError)) as caught:
        load_flow(text, registry=REGISTRY)
    assert where in str(caught.value)
    assert what in str(caught.value)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_flow(tmp_path / "none.yaml")


def test_an_open_resource_cannot_be_written() -> None:
    flow = Flow(inc(), inputs={"x": int}, resources={"index": Resource()})
    with pytest.raises(ConfigError, match="cannot be written"):
        flow.to_yaml()
