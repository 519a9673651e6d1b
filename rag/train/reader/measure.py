"""What a reader answers to examples: right, cited, abstaining."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rag.eval.metrics import contains
from rag.flow.run.runtime import RUNTIME
from rag.kvcache.settings import ReuseSettings
from rag.models import Prompt, Sampling
from rag.text.abstention import abstains
from rag.train.reader.example import Example
from rag.train.reader.masks import Attention

if TYPE_CHECKING:
    from rag.models.local.model import LocalLLM
    from rag.train.work import Rows

TOKENS = 96
"""Of an answer at most."""
MARK = re.compile(r"\s*\[(\d+)\]")


@dataclass(frozen=True)
class Reading:
    """An answer to an example.

    Attributes:
        text: The answer.
        right: 1: every fact is in it; of a question without an answer: it abstains.
        cites: 1: its marks are those of the target; None where there are none to give.
    """

    text: str
    right: float
    cites: float | None


def prompt_of(example: Example, llm: LocalLLM, attention: Attention) -> Prompt:
    """The prompt of an example, as `generate` makes it; numbered where nothing is reused."""
    system = llm.prompt_set["generate"].text
    numbered = attention == "full"
    return Prompt(example.question, system, example.sources, numbered=numbered)


def target_of(example: Example, attention: Attention) -> str:
    """What is to be answered; without marks where sources have no numbers."""
    return example.target if attention == "full" else MARK.sub("", example.target)


def read_all(
    llm: LocalLLM,
    examples: Sequence[Example],
    attentions: Sequence[Attention],
    rows: Rows,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Reading]:
    """Answers to examples, each under one of the kinds of attention in turn.

    Args:
        llm: The reader.
        examples: Questions over sources.
        attentions: At least one.
        rows: Answers of a run that was stopped, which are not asked again; new ones are added.
        progress: Called with the number of answers, and of all.
    """
    for number, example in enumerate(examples):
        if str(number) not in rows.known:
            attention = attentions[number % len(attentions)]
            text = RUNTIME.run(_answer(llm, example, attention))
            rows.add(str(number), asdict(judged(example, text, attention)))
        progress(number + 1, len(examples))
    return [Reading(**rows.known[str(number)]) for number in range(len(examples))]


async def _answer(llm: LocalLLM, example: Example, attention: Attention) -> str:
    how: dict[str, Any] = {}
    if attention != "full":
        how["reuse"] = ReuseSettings(mode=attention)
    sampling = Sampling(max_tokens=TOKENS, temperature=0.0)
    done = await llm.generate(prompt_of(example, llm, attention), sampling, **how)
    return done.text.strip()


def judged(example: Example, text: str, attention: Attention = "full") -> Reading:
    """An answer beside what it should be."""
    plain = MARK.sub("", text)
    if not example.answers:
        return Reading(text, float(abstains(plain)), None)
    right = all(contains(plain, one) for one in example.answers) and not abstains(plain)
    if attention != "full":
        return Reading(text, float(right), None)
    same = set(MARK.findall(text)) == set(MARK.findall(example.target))
    return Reading(text, float(right), float(same))
