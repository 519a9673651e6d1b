"""Search spaces: read from files, checked, and turned into flows."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from rag.errors import BuildError, ConfigError, RagError
from rag.flow import Flow, Parallel, load_flow
from rag.operators import BM25, MMR, RRF, Dense, Generate, Rerank
from rag.prompts.templates import prompts
from rag.testing import ScriptedLLM
from rag.tune import Choice, Range, Space
from rag.tune.check import check
from rag.tune.dimensions import Address
from rag.tune.read import read_tuning
from rag.tune.space import config_key
from rag.tune.winner import save_winner
from tests.pipeline_schema import as_json, validator

FILE = """\
name: mine
resources:
  index: {path: ./index, chunk_size: 256}
  embedder: all-minilm-l6-v2
  llm: smollm2-135m-instruct
steps:
  - parallel:
      sparse: {use: bm25, k: 100}
      dense: {use: dense, k: 100}
    join: {use: rrf}
  - {use: rerank, k: 16}
  - {use: select_context, k: "${k:auto}"}
  - {use: generate}
tune:
  maximise: containment
  minimise: llm_calls
  constraints: {llm_calls: 4, faithfulness: {min: 0.5}}
  space:
    steps.rerank: [{use: rerank, k: 16}, {use: mmr, k: 16}, null]
    steps.rerank.k: {low: 4, high: 32, log: true, when: {steps.rerank: rerank}}
    steps.sparse: {choose: {words: {use: bm25, k: 100}, out: null}}
    params.k: [1, 2, 4]
    resources.index.chunk_size: [128, 256]
    resources.llm.profile.size: [small, strong]
    prompts.generate: ["Answer.", "Answer {question} briefly."]
"""


def read(tmp_path: Path, text: str = FILE) -> Any:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    return read_tuning(file, folder=tmp_path / "prompts")


def problems(tmp_path: Path, *changes: tuple[str, str]) -> list[RagError]:
    text = FILE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    with pytest.raises(RagError) as error:
        check(read(tmp_path, text).space)
    found = error.value
    return list(found.problems) if isinstance(found, BuildError) else [found]


def test_a_file_says_what_may_be_otherwise(tmp_path: Path) -> None:
    tuning = read(tmp_path)
    check(tuning.space)
    assert tuning.settings.objectives == ("containment", "llm_calls")
    assert tuning.settings.constraints["llm_calls"].max == 4
    assert tuning.space.order[-1] == "steps.rerank.k"
    # 2 alternatives without a depth and 29 depths, 2 searches, 3 k, 2 sizes, 2 profiles, 3 texts.
    assert tuning.space.size() == (2 + 29) * 2 * 3 * 2 * 2 * 3
    validator().validate(as_json(FILE))
    assert load_flow(FILE) == tuning.flow


def test_a_configuration_is_a_flow_that_can_be_written_and_read(tmp_path: Path) -> None:
    tuning = read(tmp_path)
    config = {
        "steps.rerank": "rerank", "steps.rerank.k": 7, "steps.sparse": "out", "params.k": "2",
        "resources.index.chunk_size": "128", "resources.llm.profile.size": "strong",
        "prompts.generate": "text-1",
    }  # fmt: skip
    flow = tuning.space.build(config)
    labels = [step.label for step in flow.steps.values()]
    assert labels == ["dense", "rrf", "rerank", "select_context", "generate"]
    steps = {step.label: step for step in flow.steps.values()}
    assert (steps["rerank"].k, steps["select_context"].k) == (7, 2)
    assert flow.resources.specs["index"]["chunk_size"] == 128
    (first, *others) = save_winner(flow, tmp_path / "best.yaml", ["a note"])
    assert first.read_text().startswith("# a note\n")
    assert [one.name for one in others] == ["best.llm.prompts.yaml"]
    saved = load_flow(first)
    assert saved.node == flow.node
    profile = saved.resources.specs["llm"]["profile"]
    assert profile == {"size": "strong", "prompts": "./best.llm.prompts.yaml"}
    assert "generate: Answer.\n" in others[0].read_text()
    with pytest.raises(ConfigError, match="relative to the pipeline's folder"):
        save_winner(flow, tmp_path / "elsewhere" / "best.yaml", [])


@settings(max_examples=25)
@given(st.integers(0, 10**6))
def test_a_sample_has_what_counts_and_fits_together(seed: int) -> None:
    own = small()
    config = own.sample(random.Random(seed))  # noqa: S311 - a sample, no secret
    assert ("steps.rerank.k" in config) == (config["steps.rerank"] == "rerank")
    flow = own.build(config)
    assert load_flow(flow.to_yaml()) == flow
    assert config_key(config) in {config_key(one) for one in own.grid()}


def small(**more: Any) -> Space:
    search = Parallel(sparse=BM25(k=9), dense=Dense(k=9), join=RRF())
    flow = Flow(search >> Rerank(k=4) >> Generate())
    dimensions = {
        "steps.rerank": [Rerank(k=8), MMR(k=8), None],
        "steps.rerank.k": Choice.of([2, 4], when={"steps.rerank": ("rerank",)}),
        "steps.parallel/dense": {"dense": Dense(k=5), "out": None},
        "steps.generate.max_tokens": Range(8, 16, 8),
        **more,
    }
    return Space(flow, dimensions)


def test_the_twin_in_python_is_checked_alike() -> None:
    own = small()
    check(own)
    assert own.size() == 4 * 2 * 2
    with pytest.raises(BuildError) as error:
        small(**{"steps.rerunk.k": [1]})
    assert "there is no step 'rerunk'" in str(error.value)
    assert "did you mean 'rerank'" in str(error.value)


def test_the_whole_flow_may_be_one_step() -> None:
    own = Space(Flow(BM25(k=3)), {"steps.bm25": [BM25(k=5), Dense(k=5)]})
    flow = own.build({"steps.bm25": "dense"})
    assert [step.label for step in flow.steps.values()] == ["dense"]


def test_a_branch_or_a_join_is_left_out() -> None:
    branches = Parallel(one=BM25(k=1, outputs={"documents": "a"}), two=Dense(k=1), name="both")
    own = Space(Flow(branches), {"steps.both/one": {"in": BM25(k=2), "out": None}})
    flow = own.build({"steps.both/one": "out"})
    assert [str(place) for place in flow.steps] == ["both/two/dense"]


@pytest.mark.parametrize(
    ("name", "kind", "key", "field"),
    [
        ("steps.rerank", "steps", "rerank", ()),
        ("steps.parallel/sparse.k", "steps", "parallel/sparse", ("k",)),
        ("steps.parallel/.join/rrf.c", "steps", "parallel/.join/rrf", ("c",)),
        ("steps.generate.reuse.mode", "steps", "generate", ("reuse", "mode")),
        ("resources.llm", "resources", "llm", ()),
        ("params.k", "params", "k", ()),
    ],
)
def test_addresses(name: str, kind: str, key: str, field: tuple[str, ...]) -> None:
    assert Address.parse(name) == Address(kind, key, field)


@pytest.mark.parametrize(
    ("old", "new", "line", "says", "fix"),
    [
        ("steps.rerank.k", "steps.rerunk.k", 20, "no step 'rerunk'", "did you mean 'rerank'?"),
        ("params.k", "params.q", 22, "no parameter ${q}", "k"),
        ("prompts.generate", "prompts.generat", 25, "no prompt 'generat'", "'generate'"),
        ("resources.llm.profile", "resources.lm.profile", 24, "no resource 'lm'", "'llm'"),
        ("chunk_size: [", "chunk_sise: [", 23, "no field 'chunk_sise'", "'chunk_size'"),
        ("steps.sparse:", "step.sparse:", 21, "names nothing that can be tuned", "steps."),
        ("{use: mmr, k: 16}, null", "{use: mmrr, k: 16}", 19, "no operator 'mmrr'", "'mmr'"),
        ("{steps.rerank: rerank}", "{steps.rerank: rerunk}", 20, "never 'rerunk'", "'rerank'"),
        ("{steps.rerank: rerank}", "{steps.rerunk: mmr}", 20, "no dimension", "steps.rerank"),
        ("low: 4, high: 32", "low: 40, high: 32", 20, "low is 40, above high", "docs/tuning.md"),
        ("params.k: [1, 2, 4]", "params.k: []", 22, "nothing to choose from", ""),
        ("params.k: [1, 2, 4]", "params.k: [1, 1]", 22, "two values are called '1'", "names"),
        ("maximise: containment", "maximise: contaiment", 15, "no measure 'contaiment'",
         "did you mean 'containment'?"),
        ("minimise: llm_calls", "minimise: containment", 0, "is an objective twice", ""),
        ("minimise: llm_calls", "minimize: llm_calls", 16, "unknown key 'minimize'", "'minimise'"),
        ("{llm_calls: 4,", "{llm_calls: {min: 5, max: 4},", 17, "at least 5 and at most 4", ""),
        ("constraints: {llm", "constraints: {lm", 17, "no measure 'lm_calls'", "'llm_calls'"),
    ],
)  # fmt: skip
def test_what_is_wrong_has_its_line_and_how_to_mend_it(
    tmp_path: Path, old: str, new: str, line: int, says: str, fix: str
) -> None:
    (one,) = problems(tmp_path, (old, new))[:1]
    assert says in one.what
    if line:
        assert one.where == f"mine.yaml:{line}"
    assert one.fix
    assert fix in one.fix


def test_a_step_that_an_alternative_lacks_asks_for_a_condition(tmp_path: Path) -> None:
    found = problems(tmp_path, (", when: {steps.rerank: rerank}", ""))
    assert ["'mmr' fits into no" in one.what or "'none' fits into no" in one.what
            for one in found] == [True, True]  # fmt: skip
    assert all("when:" in (one.fix or "") for one in found)
    assert found[0].where == "mine.yaml:19"


def test_a_space_without_any_configuration_says_why() -> None:
    flow = Flow(BM25(k=3) >> Rerank(k=2))
    own = Space(flow, {"steps.bm25": {"none": None, "other": MMR(k=2)}})
    with pytest.raises(BuildError) as error:
        check(own)
    assert "no configuration of the space fits together" in error.value.problems[0].what
    assert len(error.value.problems) == 3


@pytest.mark.parametrize(
    ("when", "says"),
    [
        ({"steps.rerank": ("mmr",), "steps.rerank.k": ("2",)}, "contradict each other"),
        ({"steps.generate.system": ("a",)}, "go in a circle"),
    ],
)
def test_conditions_that_cannot_be_met_are_refused(when: Any, says: str) -> None:
    more = {"steps.generate.system": Choice.of(["a", "b"], when=when)}
    with pytest.raises(BuildError) as error:
        small(**more)
    assert says in str(error.value)


def test_open_models_have_no_fields_and_files_without_a_space_say_so(tmp_path: Path) -> None:
    flow = Flow(Generate(), resources={"llm": ScriptedLLM()})
    with pytest.raises(BuildError, match="was given open"):
        Space(flow, {"resources.llm.profile.size": ["small"]})
    with pytest.raises(ConfigError, match="there is no `tune:`"):
        read(tmp_path, "steps: [{use: bm25, k: 3}]")


def test_prompts_start_from_those_that_the_model_has(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("hyde: Write about it.\n")
    text = FILE.replace(
        "llm: smollm2-135m-instruct",
        "llm: {model: smollm2-135m-instruct, profile: {prompts: ./own.yaml}}",
    )
    tuning = read(tmp_path, text)
    config = tuning.space.sample(random.Random(0))  # noqa: S311 - a sample, no secret
    flow = tuning.space.build({**config, "prompts.generate": "text-2"})
    file = Path(flow.resources.specs["llm"]["profile"]["prompts"])
    texts = YAML(typ="safe", pure=True).load(file.read_text())
    assert texts["hyde"] == "Write about it."
    assert texts["generate"] == "Answer {question} briefly."
    as_written = tuning.space.build({**config, "prompts.generate": "as-written"})
    assert as_written.resources.specs["llm"]["profile"]["prompts"] == "./own.yaml"
    assert "generate" in prompts()
