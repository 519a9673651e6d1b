"""Training a reader: the mix, the adapter, what it gained, and the gate."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.errors import ConfigError
from rag.extras import check_installed
from rag.models import LLM
from rag.models.local.model import LocalLLM
from rag.train.card import write_card
from rag.train.gate import Verdict, refuse
from rag.train.reader.example import Example
from rag.train.reader.lora import Lesson, LoraSettings, train_adapter
from rag.train.reader.masks import Attention
from rag.train.reader.measure import Reading, prompt_of, read_all, target_of
from rag.train.reader.mix import Mix
from rag.train.work import Work

if TYPE_CHECKING:
    from collections.abc import Mapping

Report = Callable[[str, int, int], None]
Test = Callable[[str, str], "Mapping[str, Sequence[float]]"]
"""From a name for a run and a model to values by kind of question, one for each question."""


@dataclass(frozen=True)
class ReaderSettings:
    """How a reader is trained.

    Attributes:
        base: The model, as a pipeline names it.
        lora: Of the adapter.
        attention: Kinds of attention that examples are read under, in turn.
    """

    base: str
    lora: LoraSettings = field(default_factory=LoraSettings)
    attention: tuple[Attention, ...] = ("full",)


def train_reader(
    mix: Mix,
    settings: ReaderSettings,
    out: Path,
    about: Mapping[str, Any],
    *,
    test: Test | None = None,
    licence: str = "",
    force: bool = False,
    report: Report = lambda work, done, total: None,
) -> list[Verdict]:
    """Train an adapter, measure it beside its base, and save it if it is better.

    Supervised on answers over the right source among distractors, a share of examples without it
    (RAFT, Zhang et al. 2024, arXiv 2403.10131, section 3).

    Args:
        mix: What is learned, and what is measured.
        settings: How.
        out: The folder of the adapter. `OUT.training` beside it holds what is under way; a
            stopped training goes on from it.
        about: For the card: what the mix was made from.
        test: Answers questions of another kind by a pipeline with a model; what it gives decides
            too.
        licence: Of the data, for the card.
        force: Save it whatever it gained; the card says so.
        report: Called with what is done, how much, and of how much.

    Returns:
        What was measured.

    Raises:
        GateError: It is not surely better; nothing was saved.
        ConfigError: PEFT is not installed, `out` is there, or a training with other settings was
            stopped there.
        ModelError: There is no such model, or it does not run in this process.
    """
    check_installed("peft", "train", where="rag train reader")
    everything = {**asdict(settings), **about}
    work = Work(out, {**everything, "examples": _digest(mix)})
    base = _reader(settings.base)
    before = read_all(
        base, mix.held_out, settings.attention, work.rows("before"), _of(report, "before")
    )
    tested = {} if test is None else {"before": test("before", settings.base)}
    built = work.folder / "adapter"
    if not (built / "adapter_config.json").exists():
        lessons = [
            _lesson(example, base, settings.attention[number % len(settings.attention)])
            for number, example in enumerate(mix.learned)
        ]
        train_adapter(
            settings.base, lessons, settings.lora, built, work.folder,
            lambda done, total, loss: report(f"training, loss {loss:.2f}", done, total),
        )  # fmt: skip
    base.close()
    reader = _reader(str(built.resolve()))
    after = read_all(
        reader, mix.held_out, settings.attention, work.rows("after"), _of(report, "after")
    )
    reader.close()
    verdicts = _verdicts(mix.held_out, before, after)
    if test is not None:
        tested["after"] = test("after", str(built.resolve()))
        verdicts += [
            Verdict(f"test, {kind}", "right", tuple(values), tuple(tested["after"][kind]),
                    gates=kind == "all")
            for kind, values in tested["before"].items()
        ]  # fmt: skip
    passed = refuse(verdicts, force)
    use = f"An adapter of low rank for `{settings.base}`. In a pipeline: `llm: ./{out.name}`."
    write_card(
        built, f"Reader {out.name}", settings.base, use, everything, mix.counts(), verdicts,
        licence=licence, passed=passed,
    )  # fmt: skip
    work.finish(built)
    return verdicts


def _of(report: Report, name: str) -> Callable[[int, int], None]:
    return lambda done, total: report(f"answers {name}", done, total)


def _reader(name: str) -> LocalLLM:
    llm = LLM.load(name)
    if not isinstance(llm, LocalLLM):
        fix = "name a model that runs in this process: a folder, a GGUF file, a package"
        raise ConfigError(f"{name!r} cannot be trained", where="--model", fix=fix)
    return llm


def _lesson(example: Example, llm: LocalLLM, attention: Attention) -> Lesson:
    tokens = llm.template.tokenize(prompt_of(example, llm, attention))
    answer = [*llm.template.encode(target_of(example, attention)), min(llm.ends)]
    return Lesson(tokens, tuple(answer), attention)


def _verdicts(
    examples: Sequence[Example], before: Sequence[Reading], after: Sequence[Reading]
) -> list[Verdict]:
    """All together, which decides; by origin and kind, and citations, which only inform."""
    names = {"held-out": [True] * len(examples)}
    for origin in sorted({one.origin for one in examples}):
        names[origin] = [one.origin == origin for one in examples]
    for kind in ("single", "several", "none"):
        names[f"of kind {kind}"] = [one.kind == kind for one in examples]
    found = []
    for name, mine in names.items():
        pairs = [(a, b) for a, b, own in zip(before, after, mine, strict=True) if own]
        if pairs:
            found.append(_verdict(name, "right", [(a.right, b.right) for a, b in pairs]))
    cites = [
        (one.cites or 0.0, other.cites or 0.0)
        for one, other in zip(before, after, strict=True) if one.cites is not None
    ]  # fmt: skip
    if cites:
        found.append(_verdict("held-out", "cites", cites, gates=False))
    return found


def _verdict(
    name: str, measure: str, pairs: Sequence[tuple[float, float]], *, gates: bool | None = None
) -> Verdict:
    before, after = zip(*pairs, strict=True)
    decides = name == "held-out" if gates is None else gates
    return Verdict(name, measure, tuple(before), tuple(after), gates=decides)


def _digest(mix: Mix) -> str:
    text = json.dumps([[asdict(one) for one in part] for part in (mix.learned, mix.held_out)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
