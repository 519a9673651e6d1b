"""Things that do not exist, with their facts, drawn from the words of `invented.yaml`."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

UNSEEN = 4
"""Every so many kinds of things are only in what a reader is measured on."""
_SLOT = re.compile(r"\{(\w+)(?::([\w.-]+))?(?::([\w.-]+))?\}")


@cache
def words() -> dict[str, Any]:
    """What there is to draw from."""
    from ruamel.yaml import YAML

    text = Path(__file__).with_name("invented.yaml").read_text(encoding="utf-8")
    found: dict[str, Any] = YAML(typ="safe", pure=True).load(text)
    return found


@dataclass(frozen=True)
class Fact:
    """What is so of a thing.

    Attributes:
        name: Of the kind of fact, as `length`.
        about: The thing: `the Ashford greenhouse`.
        value: What is so: `12 m`.
        statement: A sentence without its full stop.
        question: That asks for the value.
    """

    name: str
    about: str
    value: str
    statement: str
    question: str


@dataclass(frozen=True)
class Thing:
    """A thing and its facts, by name."""

    name: str
    facts: dict[str, Fact]


@dataclass(frozen=True)
class Office:
    """Who holds a role.

    Attributes:
        role: As `night porter`.
        person: Who holds it.
        extension: Of their telephone.
    """

    role: str
    person: str
    extension: str


class World:
    """An organisation, its things and its people.

    Args:
        rng: Draws everything.
        unseen: Draw kinds of things that no other world has.
    """

    def __init__(self, rng: random.Random, *, unseen: bool = False) -> None:
        self.rng, self.unseen = rng, unseen
        self.name = self._slots(rng.choice(words()["organisations"]), {})
        self.group = rng.choice(sorted(words()["groups"]))
        self._kinds: dict[str, str] = {}
        taken: set[str] = set()
        self.things = [self._thing(taken) for _ in range(rng.randint(3, 6))]
        roles = rng.sample(words()["roles"], rng.randint(3, 5))
        self.offices = [Office(role, self.draw("person"), self.draw("extension")) for role in roles]

    def draw(self, kind: str) -> str:
        """A value of a kind: `metres`, `person`."""
        return self._slots(self.rng.choice(words()["values"][kind]), {})

    def place(self) -> str:
        """The name of a place."""
        return str(self.rng.choice(words()["first"])) + str(self.rng.choice(words()["last"]))

    def fact(self, name: str, about: str, value: str | None = None) -> Fact:
        """A fact of a kind about a thing; its value is drawn if none is given."""
        spec = words()["facts"][name]
        value = self.draw(spec["v"]) if value is None else value
        said = {"it": about, "v": value}
        return Fact(
            name,
            about,
            value,
            self._slots(self.rng.choice(spec["say"]), said),
            self._slots(self.rng.choice(spec["ask"]), said),
        )

    def lacking(self, thing: Thing) -> Fact | None:
        """A fact that may be asked of a thing of this kind and that it does not have."""
        rest = [name for name in words()["groups"][self.group] if name not in thing.facts]
        return self.fact(self.rng.choice(rest), thing.name) if rest else None

    def stranger(self) -> str:
        """The name of a thing that this world does not have, nor one that may be meant by it."""
        taken = [set(one.name.split()) for one in self.things]
        while True:
            name, _ = self._name()
            own = set(name.split())
            if not any(own <= one or one <= own for one in taken):
                return name

    def loosely(self, question: str, thing: Thing) -> str:
        """A question about a thing, which people name by what it is where there is no other."""
        kind = self._kinds[thing.name]
        alone = list(self._kinds.values()).count(kind) == 1
        if not alone or self.rng.random() < 0.6:
            return question
        return question.replace(thing.name, f"the {kind}")

    def _thing(self, taken: set[str]) -> Thing:
        name, kind = self._name()
        while name in taken:
            name, kind = self._name()
        taken.add(name)
        self._kinds[name] = kind
        pool = words()["groups"][self.group]
        chosen = self.rng.sample(pool, min(self.rng.randint(4, 8), len(pool)))
        return Thing(name, {one: self.fact(one, name) for one in chosen})

    def _name(self) -> tuple[str, str]:
        """A name of a thing, and what it is."""
        kinds = words()["things"][self.group]
        mine = [one for n, one in enumerate(kinds) if (n % UNSEEN == 0) == self.unseen]
        kind = self.rng.choice(mine)
        number = self.rng.randint(1, 40)
        side = self.rng.choice(("east", "west", "old", "new", "small", "upper"))
        name = self.rng.choice(
            (
                f"the {self.place()} {kind}",
                f"the {self.place()} {kind}",
                f"the {side} {kind}",
                f"{kind} {number}",
                f"the {kind} {self.place()}",
                f"the {kind}",
            )
        )
        return name, kind

    def _slots(self, text: str, said: dict[str, str]) -> str:
        return _SLOT.sub(lambda match: self._slot(match, said), text)

    def _slot(self, match: re.Match[str], said: dict[str, str]) -> str:
        kind, first, second = match.groups()
        rng = self.rng
        if kind in said:
            return said[kind]
        if kind == "int":
            return str(rng.randint(int(first), int(second)))
        if kind == "dec":
            return f"{rng.randint(10 * int(first), 10 * int(second)) / 10:.1f}"
        if kind == "word":
            return str(rng.choice(words()["lists"][first]))
        if kind == "day":
            return str(rng.randint(1, 28))
        if kind == "clock":
            return f"{rng.randint(5, 22):02}:{rng.choice((0, 0, 15, 30, 45)):02}"
        if kind == "person":
            return f"{rng.choice(words()['given'])} {rng.choice(words()['family'])}"
        if kind == "firm":
            return f"{rng.choice(words()['family'])} {rng.choice(words()['kinds_of_firm'])}"
        if kind == "place":
            return self.place()
        raise KeyError(kind)
