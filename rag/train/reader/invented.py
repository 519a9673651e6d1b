"""Questions about documents that do not exist: what must be read is nowhere else.

A model that knows the answer learns nothing about reading. Here only the sources have it, among
facts of the same kind about other things, and other facts about the same thing (distractors, as in
RAFT, Zhang et al. 2024, arXiv 2403.10131, section 3).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from rag.train.reader.example import Example, abstaining, capitalized, cited
from rag.train.reader.world import Fact, Office, Thing, World, words

ORIGIN = "invented"
_WAYS = {"single": 42, "row": 8, "office": 6, "two": 10, "hop": 14, "half": 3, "none": 22}
"""Ways to ask, and how often of a hundred or so."""


@dataclass
class _Source:
    """A source in the making: its heading, its sentences, and what these say."""

    heading: str
    lines: list[str] = field(default_factory=list)
    holds: list[Fact | Office | str] = field(default_factory=list)

    def text(self) -> str:
        return f"{self.heading}\n{' '.join(self.lines)}"


def invented(count: int, seed: int = 0, *, unseen: bool = False) -> list[Example]:
    """Examples over sources of worlds of their own, one world for each.

    Args:
        count: Examples.
        seed: Of all random choices.
        unseen: Of kinds of things that no others are about: for measuring.
    """
    found = []
    for number in range(count):
        rng = random.Random(f"{seed} {unseen} {number}")  # noqa: S311 - no secret
        way = rng.choices(list(_WAYS), list(_WAYS.values()))[0]
        example = _Asking(World(rng, unseen=unseen)).ask(way)
        found.append(replace(example, group=f"{ORIGIN} {unseen} {number}"))
    return found


class _Asking:
    """One example over a world."""

    def __init__(self, world: World) -> None:
        self._world, self._rng = world, world.rng
        self._thing, *self._others = world.things

    def ask(self, way: str) -> Example:
        """The example of a way to ask; where the world has none such, a plain one."""
        match way:
            case "row":
                return self._row()
            case "office":
                return self._office()
            case "two":
                return self._two()
            case "hop":
                return self._hop()
            case "half":
                return self._half()
            case "none":
                return self._none()
        fact = self._fact(self._thing)
        sources = self._shuffled([self._about(self._thing, [fact]), *self._distractors(fact.name)])
        asked = self._world.loosely(fact.question, self._thing)
        return self._answered(asked, sources, [(fact, fact.statement)])

    def _fact(self, thing: Thing) -> Fact:
        return self._rng.choice(list(thing.facts.values()))

    def _row(self) -> Example:
        """A fact in a row of a table, whose other rows are about things of its kind."""
        fact, table = self._table(self._fact(self._thing).name)
        sources = self._shuffled([table, *self._distractors("")[:2]])
        asked = self._world.loosely(fact.question, self._thing)
        return self._answered(asked, sources, [(fact, fact.statement)])

    def _office(self) -> Example:
        office = self._world.offices[0]
        sources = self._shuffled([*self._staff(), *self._distractors("")[:2]])
        asked = self._rng.choice(
            (f"Who is the {office.role}?", f"What is the name of the {office.role}?")
        )
        if self._rng.random() < 0.3:
            asked = f"Which extension reaches the {office.role}?"
            return self._answered(
                asked, sources, [(office, f"the {office.role} is at extension {office.extension}")],
                (office.extension,),
            )  # fmt: skip
        return self._answered(
            asked, sources, [(office, f"the {office.role} is {office.person}")], (office.person,)
        )

    def _two(self) -> Example:
        """Two facts, of one thing or of two."""
        first = self._fact(self._thing)
        other = self._rng.choice(self._others)
        if self._rng.random() < 0.5:
            other = self._thing
        rest = [one for one in other.facts.values() if one.name != first.name]
        second = self._rng.choice(rest)
        if other is self._thing and self._rng.random() < 0.6:
            drafts = [self._about(other, [first, second])]
        else:
            drafts = [self._about(self._thing, [first]), self._about(other, [second])]
        sources = self._shuffled([*drafts, *self._distractors(first.name)[:2]])
        question = self._joined(first, second, same=other is self._thing)
        return self._answered(
            question, sources, [(first, first.statement), (second, second.statement)]
        )

    def _half(self) -> Example:
        """Two facts of which the sources have one."""
        first, second = self._fact(self._thing), self._world.lacking(self._thing)
        if second is None:
            return self.ask("single")
        sources = self._shuffled([self._about(self._thing, [first]), *self._distractors("")[:2]])
        answer = self._answered(
            self._joined(first, second, same=True), sources, [(first, first.statement)]
        )
        return replace(answer, target=f"{answer.target} The sources do not say the rest.")

    def _hop(self) -> Example:
        """Who does something: a source has the role, another one who holds it."""
        office, thing = self._world.offices[0], self._thing
        duty = self._rng.choice(words()["duties"])
        said = str(duty["say"]).format(it=thing.name, role=office.role)
        who = str(duty["who"]).format(it=thing.name)
        source = self._about(thing, [])
        source.lines.insert(self._rng.randint(0, len(source.lines)), f"{capitalized(said)}.")
        source.holds.append(said)
        sources = self._shuffled([source, *self._staff(), *self._distractors("")[:2]])
        if self._rng.random() < 0.3:
            asked, answer = f"Which extension reaches the person who {who}?", office.extension
            then = f"the {office.role} is {office.person}, extension {answer}"
        else:
            asked = self._rng.choice(
                (f"Who {who}, by name?", f"What is the name of the person who {who}?",
                 f"Who {who}, and what is the name?")
            )  # fmt: skip
            answer = office.person
            then = f"the {office.role} is {answer}"
        if any(said in source.holds for source in sources):
            return self._answered(asked, sources, [(said, said), (office, then)], (answer,))
        raise AssertionError(said)

    def _none(self) -> Example:
        """What no source has: another fact of a thing, a thing that is not there, no such role."""
        fact, choice = self._fact(self._thing), self._rng.random()
        shown = [one for one in self._thing.facts.values() if one.name != fact.name]
        if choice < 0.45:
            drafts = [self._about(self._thing, self._rng.sample(shown, min(2, len(shown))))]
            drafts += self._distractors(fact.name)
        elif choice < 0.75:
            fact = self._world.fact(fact.name, self._world.stranger())
            drafts = [self._about(self._thing, [self._thing.facts[fact.name]])]
            drafts += self._distractors(fact.name)
        elif choice < 0.9:
            drafts = [*self._staff(without=self._world.offices[0].role), *self._distractors("")]
            role = self._world.offices[0].role
            question = self._rng.choice((f"Who is the {role}?", f"When was the {role} born?"))
            return abstaining(question, self._texts(self._shuffled(drafts)), ORIGIN)
        else:
            drafts = [*self._distractors(""), *self._staff()]
            fact = World(self._rng, unseen=self._world.unseen).things[0].facts.popitem()[1]
        return abstaining(fact.question, self._texts(self._shuffled(drafts)), ORIGIN)

    def _about(self, thing: Thing, facts: Sequence[Fact]) -> _Source:
        """A source about a thing that has these facts among others of it."""
        rng = self._rng
        asked = {one.name for one in facts}
        more = [one for one in thing.facts.values() if one.name not in asked]
        if facts:
            more = rng.sample(more, rng.randint(0, min(3, len(more))))
        else:
            more = rng.sample(more, min(rng.randint(1, 2), len(more)))
        shown = [*facts, *more] if facts else more
        rng.shuffle(shown)
        own = rng.random() < 0.5
        heading = capitalized(thing.name) if own else rng.choice(words()["headings"])
        source = _Source(f"{self._world.name} > {heading}", holds=list(shown))
        while shown:
            fact = shown.pop()
            line = self._with_pronoun(fact, source, own)
            if shown and rng.random() < 0.25:
                joint = rng.choice((", and ", "; ", ", while "))
                line += joint + self._with_pronoun(shown.pop(), source, own=True)
            source.lines.append(f"{capitalized(line)}.")
        if rng.random() < 0.25:
            source.lines.insert(rng.randint(0, len(source.lines)), rng.choice(words()["fillers"]))
        return source

    def _with_pronoun(self, fact: Fact, source: _Source, own: bool) -> str:
        """The statement; `it` stands for a thing that was named before."""
        if own and self._rng.random() < 0.4:
            return fact.statement.replace(fact.about, "it")
        return fact.statement

    def _distractors(self, name: str) -> list[_Source]:
        """Sources about other things; with a name, facts of that kind where they have one."""
        found = []
        for thing in self._rng.sample(self._others, self._rng.randint(1, len(self._others))):
            same = thing.facts.get(name)
            if same is None and name and self._rng.random() < 0.5:
                same = self._world.fact(name, thing.name)
            found.append(self._about(thing, [same] if same else []))
        return found[: self._rng.choice((1, 2, 3, 3))]

    def _table(self, name: str) -> tuple[Fact, _Source]:
        """A table of things by kinds of facts, which has the fact of a kind."""
        rng = self._rng
        columns = [name, *rng.sample([one for one in self._thing.facts if one != name], 2)]
        rng.shuffle(columns)
        source = _Source(f"{self._world.name} > {rng.choice(words()['headings'])}")
        titles = [words()["facts"][one].get("title", one.replace("_", " ")) for one in columns]
        head = f"| Name | {' | '.join(map(capitalized, titles))} |"
        rows, wanted = [], None
        for thing in [self._thing, *self._others][: rng.randint(1, 4)]:
            facts = [thing.facts.get(one) or self._world.fact(one, thing.name) for one in columns]
            if thing is self._thing:
                wanted = facts[columns.index(name)]
            cells = " | ".join(one.value for one in facts)
            rows.append(f"| {capitalized(thing.name.removeprefix('the '))} | {cells} |")
        rng.shuffle(rows)
        source.lines += [head, *rows]
        if wanted is None:
            raise AssertionError(name)
        source.holds.append(wanted)
        return wanted, source

    def _staff(self, without: str = "") -> list[_Source]:
        """Who holds which role, as rows of a table or in sentences."""
        rng = self._rng
        offices = [one for one in self._world.offices if one.role != without]
        first, rest = offices[:1], offices[1:]
        shown = [*first, *rng.sample(rest, rng.randint(0, len(rest)))]
        rng.shuffle(shown)
        source = _Source(f"{self._world.name} > {rng.choice(('Staff', 'Who is who', 'Contacts'))}")
        form = rng.randint(0, 3)
        for one in shown:
            source.holds.append(one)
            source.lines.append(
                (
                    f"| {capitalized(one.role)} | {one.person} | {one.extension} |",
                    f"| {one.person} | {one.role} | extension {one.extension} |",
                    f"The {one.role} is {one.person} (extension {one.extension}).",
                    f"{one.person}, {one.role}, is at extension {one.extension}.",
                )[form]
            )
        return [source]

    def _joined(self, first: Fact, second: Fact, *, same: bool) -> str:
        """One question for two facts."""
        then = second.question
        if same:
            then = then.replace(second.about, "it")
        return f"{first.question.rstrip('?')}, and {then[:1].lower()}{then[1:]}"

    def _shuffled(self, sources: Sequence[_Source]) -> list[_Source]:
        found = list(sources)
        self._rng.shuffle(found)
        return found

    def _texts(self, sources: Sequence[_Source]) -> list[str]:
        return [one.text() for one in sources]

    def _answered(
        self,
        question: str,
        sources: Sequence[_Source],
        parts: Sequence[tuple[Fact | Office | str, str]],
        answer: tuple[str, ...] = (),
    ) -> Example:
        """The example whose answer says the parts one after another, each with its source."""
        said = []
        for held, sentence in parts:
            number = next(n for n, one in enumerate(sources, start=1) if held in one.holds)
            said.append(cited(sentence, [number]))
        values = [(held.value,) for held, _ in parts if isinstance(held, Fact)]
        return Example(
            question,
            tuple(self._texts(sources)),
            " ".join(said),
            tuple(values) or (answer,),
            ORIGIN,
        )
