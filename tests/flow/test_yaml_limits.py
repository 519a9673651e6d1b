"""Pipeline files: texts that look like parameters, files that are too large, and parts."""

from __future__ import annotations

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rag.errors import BuildError, ConfigError
from rag.flow import Flow, Node, Parallel, load_flow, operator
from rag.flow.registry import Registry
from rag.flow.yaml.dump import dump
from tests.flow.bricks import REGISTRY as BRICKS
from tests.flow.bricks import inc, total


@operator(writes="answer")
def say(query: str, *, prompt: str) -> str:
    """Say it."""
    return prompt


REGISTRY = Registry({"say": say, **{name: BRICKS[name] for name in ("inc", "total")}})

FRAGMENTS = ("${x}", "${x:y}", "${env:HOME}", "$${x}", "$$${", "${", "$", "$$", "}", "{", "x")
fragments = st.sampled_from([*FRAGMENTS, " ", ":", "#", "\n", "ä", "'", '"', "true", "1", "- "])
texts = st.one_of(
    st.lists(fragments, max_size=6).map("".join), st.text(string.printable, max_size=12)
)


@example("$$${true:${x}")
@example("?a")
@example("\x85")
@example("a\u2028b")
@given(texts)
def test_any_text_in_a_pipeline_comes_back(text: str) -> None:
    flow = Flow(say(prompt=text))
    again = load_flow(dump(flow, REGISTRY), registry=REGISTRY)
    assert again.invoke(query="q")["answer"] == text
    assert again == flow


def prompt(text: str, **params: str) -> str:
    source = f"steps:\n  - {{use: say, prompt: '{text}'}}\n"
    return str(load_flow(source, registry=REGISTRY, params=params).invoke(query="q")["answer"])


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("$${amount} crowns", "${amount} crowns"),
        ("$${amount}", "${amount}"),
        ("$$${amount}", "$${amount}"),
        ("${amount:5} crowns", "5 crowns"),
        ("a ${given}", "a 7"),
        ("$5 and $x", "$5 and $x"),
        ("${}", "${}"),
    ],
)
def test_parameters_are_filled_in_unless_they_are_escaped(text: str, wanted: str) -> None:
    assert prompt(text, given="7") == wanted


def test_the_environment_is_read_only_where_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hush")
    assert prompt("${env:SECRET}") == "hush"
    with pytest.raises(BuildError, match="the environment is read where it is named"):
        prompt("${SECRET}")
    assert "hush" not in dump(Flow(say(prompt="${SECRET}")), REGISTRY)
    assert prompt("$${SECRET}") == "${SECRET}"


# Limits


def bomb(levels: int, kind: str) -> str:
    """Aliases of aliases: ten times more values at each level."""
    lines = ["x-0: &a0 [1, 2, 3]" if kind == "list" else "x-0: &a0 {k: 1}"]
    for level in range(1, levels):
        items = [f"*a{level - 1}"] * 10
        if kind == "list":
            lines.append(f"x-{level}: &a{level} [{', '.join(items)}]")
        else:
            pairs = ", ".join(f"k{number}: {item}" for number, item in enumerate(items))
            lines.append(f"x-{level}: &a{level} {{{pairs}}}")
    return "\n".join([*lines, "steps:", "  - {use: inc}", "inputs: {x: int}"])


@pytest.mark.parametrize("kind", ["list", "mapping"])
def test_aliases_that_multiply_are_refused(kind: str) -> None:
    with pytest.raises(ConfigError, match="aliases counted each time"):
        load_flow(bomb(12, kind), registry=REGISTRY)
    assert load_flow(bomb(3, kind), registry=REGISTRY).invoke(x=1) == {"x": 2}


@pytest.mark.parametrize(
    "text",
    [
        "steps: &all\n  - *all\n",
        "x-one: &one {again: *one}\nsteps: [{use: inc, inputs: *one}]\n",
        "steps: [{use: inc, inputs: &one {x: *one}}]\n",
        "parts: {a: &a [*a]}\nsteps: [{use: a}]\n",
        "steps: [{parallel: &all {a: {parallel: *all}}}]\n",
    ],
)
def test_an_alias_of_itself_is_an_error_with_its_line(text: str) -> None:
    with pytest.raises(BuildError, match=r"pipeline:\d"):
        load_flow(text, registry=REGISTRY)


def nested(levels: int) -> str:
    inner = "{use: inc}"
    for _ in range(levels):
        inner = f"[{inner}]"
    return f"inputs: {{x: int}}\nsteps: {inner}\n"


def test_levels_that_are_too_many_are_a_clear_error() -> None:
    for levels in (200, 1000):
        with pytest.raises(ConfigError, match=r"levels|nested too deeply"):
            load_flow(nested(levels), registry=REGISTRY)
    block = "".join(f"{'  ' * level}- parallel:\n{'  ' * level}    a:\n" for level in range(1, 300))
    with pytest.raises(ConfigError):
        load_flow(f"steps:\n{block}", registry=REGISTRY)


def test_constructs_far_inside_each_other_load_run_and_come_back() -> None:
    node: Node = inc()
    for _ in range(15):
        node = Parallel(a=node, b=inc(), join=total(outputs={"total": "x"}))
    flow = Flow(node, inputs={"x": int})
    assert load_flow(dump(flow, REGISTRY), registry=REGISTRY) == flow
    assert flow.invoke(x=0) == {"x": 16}


def test_five_thousand_steps_load_run_and_come_back() -> None:
    text = "inputs: {x: int}\nsteps:\n" + "  - {use: inc}\n" * 5000
    flow = load_flow(text, registry=REGISTRY)
    assert flow.invoke(x=0) == {"x": 5000}
    assert len(flow.steps) == 5000
    assert str(list(flow.steps)[-1]) == "inc:5000"


def test_a_file_that_is_too_long_is_refused() -> None:
    with pytest.raises(ConfigError, match="longer than"):
        load_flow("# " + "x" * 2_000_000 + "\nsteps: []\n", registry=REGISTRY)


# Anchors and parts


def test_keys_that_begin_with_x_hold_anchors() -> None:
    text = """
    x-base: &base {use: inc, by: 5}
    inputs: {x: int}
    steps:
      - *base
      - {<<: *base, by: 7}
    """
    assert load_flow(text, registry=REGISTRY).invoke(x=0) == {"x": 12}
    with pytest.raises(BuildError, match="unknown key 'y-base'"):
        load_flow(text.replace("x-base", "y-base"), registry=REGISTRY)


PARTS = """
parts:
  twice: [{use: inc}, {use: inc}]
inputs: {x: int}
steps:
  - parallel:
      a: {use: twice}
      b: [{use: twice}, {use: twice}]
    join: {use: total}
"""


def test_parts_are_used_in_several_places() -> None:
    flow = load_flow(PARTS, registry=REGISTRY)
    assert flow.invoke(x=0)["total"] == 6
    assert len(flow.steps) == 7
    assert load_flow(dump(flow, REGISTRY), registry=REGISTRY) == flow


def test_parts_that_are_unknown_or_use_themselves_are_errors() -> None:
    with pytest.raises(BuildError, match="did you mean the part 'twice'"):
        load_flow(PARTS.replace("a: {use: twice}", "a: {use: twic}"), registry=REGISTRY)
    circle = "parts:\n  a: [{use: b}]\n  b: [{use: a}]\nsteps: [{use: a}]\n"
    with pytest.raises(BuildError, match="uses itself"):
        load_flow(circle, registry=REGISTRY)
