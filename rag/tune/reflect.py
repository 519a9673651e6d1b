"""Better texts for prompts, written by a model that is shown where answers were wrong.

Reflective prompt evolution (GEPA, Agrawal et al. 2025, arXiv 2507.19457, section 3): a parent is
drawn among the trials that are best on some question, by how many these are; a model reads its text
and some of its failures, and writes another text; the child is the parent with this text. Whether
it is better is decided by the race, as of any other configuration.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rag.flow.run.runtime import RUNTIME
from rag.models import LLM, Prompt, Sampling
from rag.text.abstention import abstains
from rag.tune.dimensions import AS_WRITTEN, Choice, active
from rag.tune.propose import Proposal, proposed
from rag.tune.settings import sign

if TYPE_CHECKING:
    from rag.eval.results import AnswerResult
    from rag.tune.race import Board
    from rag.tune.space import Space
    from rag.tune.state import Trial

FAILURES = 4
"""Wrong answers that a model is shown."""
SOURCES = 600
"""Characters of what was read that are shown of each."""
TOKENS = 256
"""Of a proposed text at most."""
_PLACEHOLDER = re.compile(r"\{\w+\}")

Texts = dict[str, dict[str, str]]


@dataclass(frozen=True)
class Reflection:
    """What reflections are made of.

    Attributes:
        space: What may be otherwise.
        board: What was measured.
        live: The trials that are left, with their configurations.
        texts: What was proposed before.
        answers: A trial's answers to the questions of the search.
        llm: The model of a resource's name.
        seed: Of what is drawn.
    """

    space: Space
    board: Board
    live: Sequence[Trial]
    texts: Mapping[str, Mapping[str, str]]
    answers: Callable[[int], Sequence[AnswerResult]]
    llm: Callable[[str], LLM]
    seed: int

    def propose(self, waves: int, most: int) -> tuple[Texts, list[Proposal]]:
        """New texts, and configurations with them.

        Args:
            waves: Waves that are left, with this one.
            most: Configurations at most.

        Raises:
            ModelError: The model cannot be called.
        """
        written: Texts = {}
        found: list[Proposal] = []
        rng = random.Random(self.seed)  # noqa: S311 - a sample, no secret
        for name, one in self.space.dimensions.items():
            if not isinstance(one, Choice) or not one.propose:
                continue
            before = len(self.texts.get(name, {}))
            count = min(math.ceil((one.propose - before) / max(waves, 1)), most - len(found))
            for _ in range(count):
                parent = self._parent(name, rng)
                if parent is None:
                    break
                own = {**self.texts.get(name, {}), **written.get(name, {})}
                text = self._written(name, one, parent, own, rng)
                if text is None:
                    continue
                label = proposed(len(own))
                written.setdefault(name, {})[label] = text
                config = {**parent.config, name: label}
                found.append(Proposal(config, "reflection"))
        return written, found

    def _parent(self, name: str, rng: random.Random) -> Trial | None:
        """A trial that has the dimension, by the number of questions that it is best on."""
        one = self.space.dimensions[name]
        able = [t for t in self.live if t.config and active(one, t.config)]
        if not able:
            return None
        wins = dict.fromkeys((trial.number for trial in able), 0)
        measure = self.board.settings.objectives[0]
        count = min(self.board.count(number) for number in wins)
        columns = {n: self.board.column(n, measure, count) for n in wins}
        for row in zip(*columns.values(), strict=True):
            values = {
                number: value * sign(measure)
                for number, value in zip(columns, row, strict=True)
                if value is not None
            }
            for number, value in values.items():
                wins[number] += value == max(values.values())
        weights = [wins[trial.number] + 1e-9 for trial in able]
        return rng.choices(able, weights)[0]

    def _written(
        self, name: str, one: Choice, parent: Trial, own: Mapping[str, str], rng: random.Random
    ) -> str | None:
        """Another text for a prompt; None: the model wrote none that can be used."""
        wrong = [answer for answer in self.answers(parent.number) if not answer.right]
        if not wrong:
            return None
        llm, key = self.llm(one.by), self.space.addresses[name].key
        chosen = str(parent.config[name])
        known = {**one.options, **own}
        text = known.get(chosen) or llm.prompt_set[key].text
        cases = rng.sample(wrong, min(FAILURES, len(wrong)))
        prompt = Prompt(
            llm.prompt_set["reflect_instruction"].format(text=text),
            llm.prompt_set["reflect"].text,
            tuple(_cases(llm, cases)),
        )
        sampling = Sampling(max_tokens=llm.profile.allowance(TOKENS))
        done = RUNTIME.run(llm.generate(prompt, sampling))
        found = done.text.strip().strip("`\"'").strip()
        same = set(_PLACEHOLDER.findall(found)) == set(_PLACEHOLDER.findall(text))
        taken = {text, *(known[n] for n in known if n != AS_WRITTEN)}
        if not found or not same or found in taken or abstains(found) or done.finish != "stop":
            return None
        return found


def _cases(llm: LLM, wrong: Sequence[AnswerResult]) -> Iterator[str]:
    for one in wrong:
        read = "\n".join(source.text for source in one.sources)[:SOURCES]
        gold = "; ".join(one.gold) if one.answerable else "the sources do not say"
        yield llm.prompt_set["reflect_case"].format(
            question=one.question, sources=read, answer=one.answer or "(none)", gold=gold
        )
