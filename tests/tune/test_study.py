"""Studies: with a journal, questions that are asked, workers that die."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rag.errors import ConfigError, StepError
from rag.eval import runtime
from rag.eval.dataset import Dataset, Query
from rag.eval.runtime import ModelCosts, save_costs
from rag.flow import Flow, load_flow
from rag.models.opening import foreign
from rag.operators import BM25, Generate
from rag.testing import ScriptedLLM
from rag.tune import Choice, Settings, Space, tune
from rag.tune.journal import SqliteJournal, open_journal
from rag.tune.report import failures
from rag.tune.split import split
from rag.tune.state import BASELINE, Task
from rag.tune.study import Study
from rag.tune.tune import result
from rag.tune.winner import save_winner
from tests.postgres import server
from tests.tune.bricks import SEARCHED, Find, broken, data, echo, guess, moody, space

SETTINGS = Settings(budget=160, block=4, seed=1)


def journal_of(study: Study) -> list[tuple[str, Any]]:
    """What happened, without who did it."""
    entries = study.journal.read()
    plain = [(one.kind, {k: v for k, v in one.data.items() if k != "worker"}) for one in entries]
    return [one for one in plain if one[0] != "claim"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    """A study that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole") / "study"
    with Study(space(), data(), SETTINGS, folder) as study:
        study.work()
        yield study


def test_a_study_finds_what_is_better_and_says_what_it_gains(whole: Study) -> None:
    found = result(whole)
    best = found.winner
    assert best.config["steps.guess.skill"] in ("0.7", "0.9")
    assert found.baseline.held["containment"] < best.held["containment"]
    gain = best.gains["containment"]
    assert gain is not None
    assert gain.low > 0
    assert found.spent <= SETTINGS.budget
    assert found.held == len(whole.held) == 40
    assert set(found.importance) <= set(whole.space.dimensions)
    assert sum(found.importance.values()) == pytest.approx(1)


def test_what_is_held_out_is_never_searched_with(whole: Study) -> None:
    held = {query.id for query in whole.held}
    for task, values in whole.state.results.items():
        assert (task.kind == "holdout") == bool(held & values.keys())
        assert (task.kind == "holdout") == (values.keys() <= held)


def test_the_winner_is_a_pipeline(whole: Study, tmp_path: Path) -> None:
    flow = Flow(Generate(), resources={"llm": "smollm2-135m-instruct"})
    own = Space(flow, {"steps.generate.max_tokens": [8, 16]})
    best = own.build({"steps.generate.max_tokens": "8"})
    best.resources.base = tmp_path
    (file,) = save_winner(best, tmp_path / "best.yaml", ["found"])
    assert load_flow(file) == best


def test_stopped_at_any_task_it_comes_to_the_same(whole: Study, tmp_path: Path) -> None:
    folder, steps = tmp_path / "study", 0
    while True:
        with Study(space(), data(), SETTINGS, folder) as study:
            plan = study.work(most=5)
            steps += 1
            if not plan.tasks:
                assert journal_of(study) == journal_of(whole)
                assert result(study) == result(whole)
                break
    assert steps > 5


def test_a_study_is_of_one_space_and_one_data_set(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    with Study(space(), data(), SETTINGS, folder):
        pass
    others = [
        (space(), data(60), SETTINGS),
        (space(), data(), SETTINGS.model_copy(update={"seed": 2})),
        (Space(space().flow, {"steps.guess.skill": [0.1, 0.9]}), data(), SETTINGS),
    ]
    for other in others:
        with pytest.raises(ConfigError, match="another space") as error:
            Study(*other, folder)
        assert "--study" in str(error.value.fix)


def _die(folder: Path, ready: Any) -> None:
    """Take a task and never come back."""
    study = Study(space(), data(), SETTINGS, folder)
    with study:
        study.work(most=3)
        task = study.plan().tasks[0]
        claim = {"kind": task.kind, "number": task.number, "block": task.block}
        study.journal.add(study.state.position + 1, "claim", {**claim, "worker": study.worker})
        ready.send(study.worker)
        ready.recv()


def test_a_killed_worker_leaves_its_task_to_the_others(whole: Study, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_die, args=(folder, there))
    process.start()
    assert here.poll(240), "it never began"
    worker = here.recv()
    with Study(space(), data(), SETTINGS, folder) as study:
        task = study.plan().tasks[0]
        assert study.state.claims[task] == worker
        assert not study._free(task)  # it is alive
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
        assert study._free(task)
        study.work()
        assert journal_of(study) == journal_of(whole)


def test_a_task_of_a_silent_worker_elsewhere_is_free_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Study(space(), data(), SETTINGS, tmp_path / "study") as study:
        task = study.plan().tasks[0]
        study.state.claims[task] = "other-machine-1-ab"
        study.journal.beat("other-machine-1-ab")
        assert not study._free(task)
        monkeypatch.setattr("rag.tune.study.LEASE", -1.0)
        assert study._free(task)


def test_of_two_entries_at_one_position_one_is_there(tmp_path: Path) -> None:
    journal, other = SqliteJournal(tmp_path / "j"), SqliteJournal(tmp_path / "j")
    assert journal.add(1, "start", {"digest": "a"})
    assert not other.add(1, "start", {"digest": "b"})
    assert [one.data for one in other.read()] == [{"digest": "a"}]
    assert other.silence("nobody") is None
    journal.close()
    other.close()


def test_workers_on_other_machines_share_a_database(tmp_path: Path) -> None:
    with server() as folder:
        url = f"postgresql://rag@/postgres?host={folder}"
        first = open_journal(tmp_path / "one" / "study", url)
        second = open_journal(tmp_path / "two" / "study", url)
        apart = open_journal(tmp_path / "one" / "else", url)
        assert first.add(1, "start", {"digest": "a", "text": "\u2028 \ud800"})
        assert not second.add(1, "start", {})
        assert [one.data for one in second.read()] == [one.data for one in first.read()]
        assert apart.read() == []
        second.beat("w")
        second.beat("w")
        silence = first.silence("w")
        assert silence is not None
        assert silence < 300
        for one in (first, second, apart):
            one.close()
    with pytest.raises(ConfigError, match="cannot be used"):
        open_journal(tmp_path, url)
    with pytest.raises(ConfigError, match="no such storage"):
        open_journal(tmp_path, "mysql://host")


def test_a_trial_that_always_fails_is_dropped_and_one_that_often_does_loses(
    tmp_path: Path,
) -> None:
    own = Space(
        Flow(guess(skill=0.3) >> echo()),
        {"steps.guess": {"same": guess(skill=0.31), "broken": broken(), "moody": moody(share=0.9)}},
    )
    settings = Settings(budget=120, block=4, minimise="tokens", sampler="grid")
    with Study(own, data(), settings, tmp_path / "study") as study:
        study.work()
        found = result(study)
    names = {number: one.config.get("steps.guess") for number, one in study.state.trials.items()}
    gone = {names[number]: why for number, why in found.dropped.items()}
    assert "it fails for all of 4 questions" in gone["broken"]
    assert "the model is not there" in gone["broken"]
    assert "broken" not in [row.config.get("steps.guess") for row in found.front]
    moody_values = [
        values for task, values in study.state.results.items() if names[task.number] == "moody"
    ]
    failed = [one for values in moody_values for one in values.values() if "tokens" not in one]
    assert failed  # what it would have cost is not known
    assert all(one["containment"] == 0 for one in failed)
    (why,) = [why for number, why in found.failed.items() if names[number] == "moody"]
    said = "of its runs failed and count as wrong; the first: moody: not this one"
    assert why == f"{len(failed)} {said}"
    assert any(why in line for line in failures(found))


def test_a_pipeline_that_always_fails_is_an_error(tmp_path: Path) -> None:
    own = Space(Flow(broken()), {"steps.broken": [guess()]})
    with pytest.raises(StepError, match="it fails for all of 4 questions"):
        tune(own, data(), SETTINGS, folder=tmp_path / "study")


def test_a_measure_without_values_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has a value of 'correctness'"):
        settings = Settings(maximise="correctness", budget=120, block=4)
        tune(space(), data(), settings, folder=tmp_path / "study")


def test_too_few_questions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="too few") as error:
        tune(space(), data(9), SETTINGS, folder=tmp_path / "study")
    assert "at least 16" in str(error.value.fix)


@pytest.mark.parametrize(("minimise", "again"), [("tokens", False), ("seconds", True)])
def test_trials_share_what_is_found_unless_seconds_count(
    tmp_path: Path, minimise: str, again: bool
) -> None:
    SEARCHED.clear()
    own = Space(Flow(Find() >> guess()), {"steps.guess.skill": [0.2, 0.4, 0.6, 0.8]})
    settings = Settings(budget=100, block=4, minimise=minimise, sampler="grid")
    with Study(own, data(32), settings, tmp_path / "study") as study:
        study.work()
    assert len(study.state.results) > 8
    assert (len(SEARCHED) > len(set(SEARCHED))) == again


def test_open_resources_are_told_apart_by_what_they_are() -> None:
    one, other = ScriptedLLM(), ScriptedLLM()
    flow = Flow(Generate(), resources={"llm": one})
    same = flow.with_resources(embedder="all-minilm-l6-v2")
    assert flow.resources.identity("llm") == same.resources.identity("llm")
    apart = flow.with_resources(llm=other)
    assert apart.resources.identity("llm") != flow.resources.identity("llm")


def test_an_index_that_is_there_is_not_filled_in_another_way(tmp_path: Path) -> None:
    own = Space(Flow(BM25(k=2)), {"resources.index.chunk_size": [64, 128]})
    with pytest.raises(ConfigError, match="needs the documents") as error:
        tune(own, data(), SETTINGS, folder=tmp_path / "study")
    assert "--documents" in str(error.value.fix)


def test_constraints_that_nothing_keeps_say_how_near_the_nearest_is(tmp_path: Path) -> None:
    settings = Settings(budget=120, block=4, constraints={"containment": 2.0})
    with pytest.raises(ConfigError, match="no configuration keeps the constraints") as error:
        tune(space(), data(), settings, folder=tmp_path / "study")
    assert "the nearest has containment" in str(error.value.fix)


def test_questions_with_the_same_words_are_on_one_side() -> None:
    queries = [Query(f"q{n}", f"Number {n % 30}?", {}, ("a",)) for n in range(60)]
    search, held = split(Dataset("d", [], queries), Settings(block=4))
    assert len(search) + len(held) == 60
    assert not {one.text for one in search} & {one.text for one in held}


def test_costs_come_from_prices_and_from_calibrated_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "cache_folder", lambda: tmp_path / "cache")
    flow = Flow(Generate(), resources={"llm": ScriptedLLM("right " * 12)})
    own = Space(flow, {"steps.generate.max_tokens": [4, 8]})
    given: dict[str, Any] = {"budget": 60, "block": 4, "sampler": "grid"}
    settings = Settings(minimise=["runtime", "cost"], **given)
    with pytest.raises(ConfigError, match="no idealized runtime") as error:
        tune(own, data(32), settings, folder=tmp_path / "a")
    assert "rag calibrate runtime" in str(error.value.fix)
    save_costs("scripted", ModelCosts(completion=1.0), {})
    with pytest.raises(ConfigError, match="no price for 'scripted'"):
        tune(own, data(32), settings, folder=tmp_path / "b")
    prices = {"scripted": {"prompt": 0.0, "completion": 1e6}}
    settings = Settings(minimise=["runtime", "cost"], prices=prices, **given)
    found, best = tune(own, data(32), settings, folder=tmp_path / "c")
    assert found.winner.config == {"steps.generate.max_tokens": "4"}
    assert found.winner.held["runtime"] == found.winner.held["cost"] == 4.0
    assert best.steps[next(iter(best.steps))].max_tokens == 4  # type: ignore[attr-defined]


def test_a_model_proposes_texts_from_what_was_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model answers well only if its instruction says so; it is asked for a better one."""
    monkeypatch.setattr(foreign, "TRUSTED", (foreign.TRUSTED, "tests."))
    model = {"use": "tests.tune.models.Pupil", "profile": {"size": "small"}}
    flow = Flow(Generate(), resources={"llm": model})
    choice = Choice.of_texts([], propose=4)
    own = Space(flow, {"prompts.generate_alone": choice, "steps.generate.max_tokens": [32, 64]})
    settings = Settings(budget=200, block=4)
    with Study(own, data(48), settings, tmp_path / "study") as study:
        study.work()
        found = result(study)
    texts = study.state.texts["prompts.generate_alone"]
    assert set(texts) == {f"proposed-{n + 1}" for n in range(len(texts))}
    assert any("say right" in text for text in texts.values())
    assert {one.origin for one in study.state.trials.values()} > {"reflection"}
    best = study.flow(found.winner.trial)
    assert found.winner.held["containment"] == 1.0
    assert found.baseline.held["containment"] == 0.0
    best.resources.base = tmp_path
    files = save_winner(best, tmp_path / "best.yaml", [])
    assert "say right" in files[1].read_text()
    (task,) = [t for t in study.state.claims if t == Task("propose", 1)]
    assert task.kind == "propose"
    assert json.dumps(study.state.trials[BASELINE].config) == "{}"
