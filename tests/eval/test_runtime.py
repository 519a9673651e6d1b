"""Idealized runtime: what is fitted, kept, and said in reports."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.errors import ConfigError, ModelError
from rag.eval import calibrate as calibrating
from rag.eval import runtime
from rag.eval.answers import answer_rows, ask_all
from rag.eval.calibrate import Timing, calibrate, fit
from rag.eval.dataset import Query
from rag.eval.results import result_of
from rag.eval.runtime import ModelCosts, ModelUse, costs_file, ideal_seconds, save_costs
from rag.eval.support import Judge
from rag.eval.tables import answer_table
from rag.flow import Flow
from rag.kvcache.settings import ReuseSettings
from rag.models import Generation, Prompt, Sampling
from rag.operators import Generate
from rag.testing import ScriptedLLM
from tests.eval.test_commands import refused, told

COSTS = ModelCosts(call=0.01, prompt=2e-3, attention=1e-6, completion=3e-2, context=1e-5)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "cache_folder", lambda: tmp_path / "cache")


numbers = st.floats(1e-7, 1.0)


@given(st.builds(ModelCosts, numbers, numbers, numbers, numbers, numbers, numbers))
def test_the_fit_explains_what_follows_from_costs(costs: ModelCosts) -> None:
    uses = [
        ModelUse("m", length, written, reused)
        for length in (64, 128, 256, 512) for written in (1, 8, 32) for reused in (0, 20, 50)
    ]  # fmt: skip
    found = fit([Timing(use, costs.seconds(use), 1.0) for use in uses])
    assert found.error < 1e-6
    assert found.costs.seconds(ModelUse("m", 300, 20, 30)) == pytest.approx(
        costs.seconds(ModelUse("m", 300, 20, 30)), rel=1e-4
    )


def test_no_cost_is_below_zero() -> None:
    uses = [ModelUse("m", length, 4) for length in (64, 128, 256)]
    found = fit([Timing(use, 1.0 / use.prompt_tokens, 1.0) for use in uses])
    assert min(asdict(found.costs).values()) >= 0
    assert found.error > 0.1


def test_a_reused_token_is_not_computed_but_attended_to() -> None:
    costs = ModelCosts(prompt=1.0, attention=1.0, reused=0.25)
    assert costs.seconds(ModelUse("m", 10, 0)) == 10 + 50
    assert costs.seconds(ModelUse("m", 10, 0, 6)) == 4 + 4 * (6 + 2) + 0.25 * 6


class Timed(ScriptedLLM):
    """A model whose calls take what its costs say, on a clock of its own."""

    now = 0.0

    async def generate(
        self, prompt: Prompt, sampling: Sampling | None = None, reuse: object = None
    ) -> Generation:
        done = await super().generate(prompt, sampling)
        use = ModelUse("scripted", done.prompt_tokens, done.completion_tokens)
        self.now += COSTS.seconds(use)
        self.now += 0.5 * (len(self.calls) % 3 == 0)  # something else runs now and then
        return done


def test_calibration_finds_the_costs_of_a_model() -> None:
    llm = Timed("word " * 64)
    steps: list[tuple[int, int]] = []
    found = calibrate(llm, clock=lambda: llm.now, progress=lambda *at: steps.append(at))
    assert found.error < 1e-6
    assert found.costs.completion == pytest.approx(COSTS.completion, rel=0.05)
    assert len(steps) == len(found.timings) == steps[0][1]
    assert {one.use.completion_tokens for one in found.timings} == set(calibrating.OUTPUTS)


def test_what_cannot_be_calibrated_says_so() -> None:
    with pytest.raises(ConfigError, match="window") as small:
        calibrate(ScriptedLLM(window=100))
    assert small.value.fix
    with pytest.raises(ModelError, match="reused no states"):
        calibrate(Timed("word"), reuse=ReuseSettings("concat"), clock=lambda: 1.0)


def answered() -> dict[str, list]:
    flow = Flow(Generate(), resources={"llm": ScriptedLLM({"generate_alone": "120 m"})})
    query = Query("q", "How long?", {}, ("120 m",))
    return {"one": ask_all(flow, [query], Judge())}


def test_reports_have_the_runtime_once_a_model_is_calibrated() -> None:
    results = answered()
    (one,) = results["one"]
    assert [use.model for use in one.calls] == ["scripted"]
    assert one.tokens == sum(use.prompt_tokens + use.completion_tokens for use in one.calls)
    assert one.runtime is None
    assert "ideal s" not in answer_table(answer_rows(results)).columns
    save_costs("scripted", COSTS, {})
    assert one.runtime == pytest.approx(sum(COSTS.seconds(use) for use in one.calls))
    assert "ideal s" in answer_table(answer_rows(results)).columns


def test_results_survive_json_and_earlier_ones_have_no_runtime() -> None:
    save_costs("scripted", COSTS, {})
    (one,) = answered()["one"]
    record = json.loads(json.dumps(asdict(one)))
    assert result_of(record) == one
    del record["calls"]
    assert result_of(record).runtime is None


def test_a_damaged_file_of_costs_is_an_error() -> None:
    path = save_costs("some/model: 1", COSTS, {"error": 0.0})
    assert path.parent == costs_file("other").parent
    use = ModelUse("some/model: 1", 100, 10)
    assert ideal_seconds([use, use]) == pytest.approx(2 * COSTS.seconds(use))
    assert ideal_seconds([use, ModelUse("other", 1, 1)]) is None
    for content in ("{", '{"costs": {"call": "much"}}', '{"costs": {"call": -1}}'):
        path.write_text(content * (1 + len(content)))
        with pytest.raises(ConfigError) as error:
            ideal_seconds([use])
        assert "rag calibrate runtime" in (error.value.fix or "")
        path.write_text(content)
        with pytest.raises(ConfigError):
            ideal_seconds([use])


@pytest.mark.slow
def test_the_command_calibrates_a_local_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibrating, "PROMPTS", (48, 96))
    monkeypatch.setattr(calibrating, "OUTPUTS", (1, 4))
    file = tmp_path / "flow.yaml"
    file.write_text("steps: [{use: generate}]")
    run = ("calibrate", "runtime", "-c", file, "--repeats", "1", "--reuse", "concat")
    found = told(*run)
    assert json.loads(Path(found["file"]).read_text())["model"] == found["model"]
    use = ModelUse(found["model"], 90, 4)
    longer = ModelUse(found["model"], 180, 4)
    assert 0 < (ideal_seconds([use]) or 0) < (ideal_seconds([longer]) or 0)
    file.write_text(
        "resources: {llm: {use: langchain_core.language_models.FakeListChatModel, "
        "responses: [hm]}}\nsteps: [{use: generate}]"
    )
    assert "does not run in this process" in refused("calibrate", "runtime", "-c", file).what
