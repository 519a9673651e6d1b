"""Training a reader: attention of reuse, checkpoints, the gate, bad input; with tiny models."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from rag.errors import ConfigError, ModelError
from rag.kvcache.settings import ReuseSettings
from rag.models import LLM, Prompt
from rag.models.local.model import LocalLLM
from rag.train.gate import GateError, Verdict, refuse
from rag.train.reader import lora
from rag.train.reader.example import Example, abstaining
from rag.train.reader.lora import LoraSettings
from rag.train.reader.masks import Attention, reused
from rag.train.reader.measure import judged, target_of
from rag.train.reader.mix import Mix
from rag.train.reader.train import ReaderSettings, train_reader
from rag.train.work import Work
from tests.cli.command import rag
from tests.models.test_native import saved

FAST = LoraSettings(rank=8, rate=2e-2, batch=4, epochs=4)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("model") / "base")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAG_CACHE_DIR", str(tmp_path / "cache"))


def examples(count: int, first: int = 0) -> list[Example]:
    """Questions that all have the same answer, which is soon learned."""
    return [
        Example(
            f"Is {first + n} so?", (f"It is {first + n}.",), "Yes [1].", (("yes",),), "toy", f"{n}"
        )
        for n in range(count)
    ]


MIX = Mix(examples(24), examples(8, 50))


def trained(base: Path, out: Path, **how: Any) -> list[Verdict]:
    settings = ReaderSettings(str(base), FAST)
    return train_reader(MIX, settings, out, {"seed": 0}, licence="CC0", **how)


@pytest.mark.parametrize("attention", ["concat", "parallel"])
def test_the_mask_is_the_attention_of_reuse(base: Path, attention: Attention) -> None:
    llm = LLM.load({"model": str(base), "dtype": "float32"})
    assert isinstance(llm, LocalLLM)
    prompt = Prompt("Who?", "Answer.", ("The keeper.", "A gate, old.", "Mud"), numbered=False)
    tokens = llm.template.tokenize(prompt)
    done = llm.engine.prefill(*tokens.plain, ReuseSettings(mode=attention))
    seen, positions = reused(tokens, 0, attention)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    mask = torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)
    with torch.inference_mode():
        found = model(
            torch.tensor([tokens.ids]), attention_mask=mask[None, None],
            position_ids=positions[None],
        )  # fmt: skip
    with torch.inference_mode():
        causal = model(torch.tensor([tokens.ids])).logits[0, -1]
    far, unmasked = (float((one - done.logits).norm()) for one in (found.logits[0, -1], causal))
    assert far < (1e-3 if attention == "parallel" else 0.5 * unmasked)
    assert unmasked > 0.1


def test_a_reader_that_learned_passes_and_opens_by_its_folder(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "reader"
    verdicts = trained(base, out)
    gates = [one for one in verdicts if one.gates]
    assert [(one.name, sum(one.before), sum(one.after)) for one in gates] == [("held-out", 0, 8)]
    assert not (tmp_path / "reader.training").exists()
    card = (out / "README.md").read_text()
    assert "Licence of the data: CC0." in card
    assert "did not pass" not in card
    facts = json.loads((out / "training.json").read_text())
    assert facts["data"] == {"toy": {"single": 24, "held out": 8}}
    assert facts["settings"]["lora"]["seed"] == 0
    assert sum(file.stat().st_size for file in out.iterdir()) < 200_000
    llm = LLM.load("reader", base=tmp_path)
    assert llm.id == "reader"
    with pytest.raises(ConfigError, match="is there already"):
        trained(base, out)


def test_what_is_not_better_is_not_saved_unless_forced(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "reader"
    lazy = ReaderSettings(str(base), replace(FAST, rate=1e-9, epochs=1))
    with pytest.raises(GateError, match=r"not surely better.* nothing was saved"):
        train_reader(MIX, lazy, out, {})
    assert not out.exists()
    verdicts = train_reader(MIX, lazy, out, {}, force=True)
    assert not verdicts[0].passed
    assert "did not pass the gate" in (out / "README.md").read_text()
    assert json.loads((out / "training.json").read_text())["passed the gate"] is False


def test_a_pipeline_that_gains_nothing_closes_the_gate(base: Path, tmp_path: Path) -> None:
    asked = []

    def test(name: str, model: str) -> dict[str, list[float]]:
        asked.append(name)
        return {"all": [0.0, 1.0, 1.0]}

    with pytest.raises(GateError, match="on 3 test, all questions"):
        trained(base, tmp_path / "reader", test=test)
    assert asked == ["before", "after"]


class KilledError(Exception):
    """As a kill would stop it."""


def test_a_stopped_training_goes_on_and_ends_alike(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lora, "EVERY", 1)
    seen: list[int] = []

    def stopping(work: str, done: int, total: int) -> None:
        if work.startswith("training"):
            seen.append(done)
            if done == 40 and seen.count(40) == 1:
                raise KilledError

    with pytest.raises(KilledError):
        trained(base, tmp_path / "stopped", report=stopping)
    assert not (tmp_path / "stopped").exists()
    assert (tmp_path / "stopped.training" / lora.PLACE).exists()
    other = replace(FAST, seed=1)
    with pytest.raises(ConfigError, match="other settings or data"):
        train_reader(MIX, ReaderSettings(str(base), other), tmp_path / "stopped", {"seed": 0})
    trained(base, tmp_path / "stopped", report=stopping)
    assert seen == [*range(4, 41, 4), *range(40, 97, 4)]
    trained(base, tmp_path / "whole")
    ours, theirs = ((tmp_path / name / "adapter_model.safetensors").read_bytes()
                    for name in ("stopped", "whole"))  # fmt: skip
    assert ours == theirs


def test_a_line_that_a_kill_cut_off_is_answered_again(tmp_path: Path) -> None:
    work = Work(tmp_path / "out", {})
    work.rows("before").add("0", {"text": "a"})
    with (work.folder / "before.jsonl").open("a") as file:
        file.write('{"id": "1", "val')
    rows = Work(tmp_path / "out", {}).rows("before")
    assert rows.known == {"0": {"text": "a"}}
    rows.add("1", {"text": "b"})
    assert list(work.rows("before").known) == ["0", "1"]


def test_answers_are_judged_by_facts_marks_and_abstention() -> None:
    one = Example("Q?", ("a", "b"), "A is 1 [2].", (("1",), ("two", "2")), "toy")
    assert judged(one, "A is 1 and two [2].").right == 1
    assert judged(one, "A is 1 [2].").right == 0
    assert judged(one, "A is 1 and 2 [1].").cites == 0
    assert judged(one, "A is 1 and 2 [2].").cites == 1
    assert judged(one, "The sources do not say 1 and 2.").right == 0
    none = abstaining("Q?", ["a"], "toy")
    assert judged(none, "The sources do not say.").right == 1
    assert judged(none, "A is 1 [1].").right == 0
    assert target_of(one, "concat") == "A is 1."


def test_the_gate_wants_the_interval_above_zero() -> None:
    sure = Verdict("a", "right", (0.0,) * 20, (1.0,) * 20)
    unsure = Verdict("b", "right", (0.0, 1.0) * 5, (1.0, 0.0, 0.0, 1.0, 0.0) * 2)
    assert refuse([sure, replace(unsure, gates=False)], force=False)
    with pytest.raises(GateError):
        refuse([sure, unsure], force=False)
    assert not refuse([sure, unsure], force=True)


def test_without_peft_one_error_says_what_to_install(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    said = rag("train", "reader", "--out", "reader", cwd=tmp_path, code=2)
    assert 'pip install "modular-rag[train]"' in said
    assert not list(tmp_path.glob("reader*"))


@pytest.mark.parametrize(
    ("args", "what"),
    [
        (("--attention", "sideways"), "there is no attention 'sideways'"),
        (("--data", "missing"), "there is no such data set"),
        (("--invented", "5"), "too few"),
        (("--texts", "missing"), "there is no such file or folder"),
        (("--data", "wrong.jsonl"), "wrong.jsonl:2"),
    ],
)
def test_bad_input_is_one_error(args: tuple[str, ...], what: str, tmp_path: Path) -> None:
    (tmp_path / "wrong.jsonl").write_text('{"question": "Q?", "answers": ["a"]}\n{"answers": 1}\n')
    said = rag("train", "reader", "--out", "reader", *args, cwd=tmp_path, code=2)
    assert what in said
    assert not (tmp_path / "reader").exists()


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such folder"):
        train_reader(MIX, ReaderSettings("./nothing"), tmp_path / "reader", {})
