"""A search space: a flow, and what of it may be otherwise."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from rag.errors import BuildError, ConfigError, RagError
from rag.flow import Flow, Sequence
from rag.flow.node import as_node
from rag.flow.yaml.values import text as as_text
from rag.names import suggestion
from rag.prompts.templates import FIXED, prompts
from rag.tune.dimensions import Address, Choice, Config, Dimension, Range, Value, active
from rag.tune.edit import with_field, with_prompts, with_resource, with_step

LISTED = 5_000
"""Configurations up to which a space is counted."""

Load = Callable[[Mapping[str, Any]], Flow]


class Space:
    """Everything that a flow may be.

    Args:
        flow: The flow as it is: the baseline.
        dimensions: Address (see `Address.parse`) to a `Choice`, a `Range`, or what `Choice.of`
            takes: a list of values, or a mapping from names to values. Steps that are exchanged
            come before their fields, in this order.
        load: The flow with other values of its `params`; None: it has none.
        params: The names of these.
        where: Address to its place in a file, for messages.
        folder: Where files of prompts are written.
        resources: Those that only alternatives use, with names of their own.

    Raises:
        BuildError: An address, a value or a condition is wrong; all problems.
    """

    def __init__(
        self,
        flow: Flow,
        dimensions: Mapping[str, Any],
        *,
        load: Load | None = None,
        params: frozenset[str] = frozenset(),
        where: Mapping[str, str] | None = None,
        folder: Path | None = None,
        resources: Mapping[str, Any] | None = None,
    ) -> None:
        self.flow = flow
        self._spare = {**flow.resources.specs, **(resources or {})}
        self.folder = folder or Path(".rag") / "prompts"
        self.addresses: dict[str, Address] = {}
        self.dimensions: dict[str, Dimension] = {}
        self._load, self._where, self._params = load, dict(where or {}), params
        self._loaded: dict[str, Flow] = {}
        problems: list[RagError] = []
        for name, given in dimensions.items():
            try:
                self.addresses[name] = Address.parse(name)
                make = Choice.of_texts if self._is(name, "prompts") else Choice.of
                made = given if isinstance(given, Choice | Range) else make(given)
                if wrong := made.problem():
                    raise ConfigError(wrong, fix="see docs/tuning.md")
                self.dimensions[name] = made
            except ConfigError as error:
                problems.append(self.placed(error, name))
        self.dimensions = {n: self._comparable(one) for n, one in self.dimensions.items()}
        if not problems:
            problems = [*self._conditions(), *self._names()]
        if not problems:
            problems = list(self._values())
        if problems:
            raise BuildError(problems)

    def placed(self, error: RagError, name: str) -> RagError:
        """An error with the place of a dimension."""
        first = error.problems[0] if isinstance(error, BuildError) else error
        where = self._where.get(name)
        what = f"{name}: {first.what}" if name not in first.what else first.what
        return ConfigError(what, where=where or f"tune.space.{name}", fix=first.fix)

    def _comparable(self, one: Dimension) -> Dimension:
        """The dimension, its conditions on choices by the names of options: `8` as `"8"`."""
        when = {
            other: tuple(
                as_text(value) if isinstance(self.dimensions.get(other), Choice) else value
                for value in values
            )
            for other, values in one.when.items()
        }
        return replace(one, when=when)

    # What is checked

    def _conditions(self) -> Iterator[RagError]:
        for name, one in self.dimensions.items():
            for other, values in one.when.items():
                if other not in self.dimensions:
                    fix = suggestion(other, set(self.dimensions) - {name})
                    what = f"`when` names no dimension: {other!r}"
                    yield self.placed(ConfigError(what, fix=fix), name)
                    continue
                known = self.dimensions[other].values()
                for value in values:
                    if known is not None and value not in known:
                        what = f"`when`: {other} is never {value!r}"
                        fix = suggestion(str(value), map(str, known))
                        yield self.placed(ConfigError(what, fix=fix), name)
        ordered = set(self.order)
        for name in self.dimensions.keys() - ordered:
            what = "its conditions go in a circle, so it never counts"
            known_fix = "take one of the conditions out"
            yield self.placed(ConfigError(what, fix=known_fix), name)
        whole = all(one.when.keys() <= self.dimensions.keys() for one in self.dimensions.values())
        for name in self.order if whole else ():
            if self.alone(name) is None:
                what = "its conditions contradict each other, so it never counts"
                yield self.placed(ConfigError(what, fix="mend `when`"), name)

    @cached_property
    def order(self) -> tuple[str, ...]:
        """The dimensions, each behind those that it depends on."""
        ordered: list[str] = []
        left = dict(self.dimensions)
        while ready := [n for n, one in left.items() if not one.when.keys() & left.keys()]:
            ordered += ready
            for name in ready:
                del left[name]
        return tuple(ordered)

    def alone(self, name: str) -> dict[str, Value] | None:
        """The conditions of a dimension, and theirs; None: they contradict each other."""
        found: dict[str, Value] = {}
        for other, values in self.dimensions[name].when.items():
            above = self.alone(other)
            if above is None:
                return None
            for key, value in {**above, other: found.get(other, values[0])}.items():
                allowed = values if key == other else (value,)
                if found.setdefault(key, value) not in allowed:
                    return None
        return found

    def _names(self) -> Iterator[RagError]:
        texts = [one for one in prompts() if not one.startswith(FIXED)]
        for name, address in self.addresses.items():
            known = None
            if address.kind == "params":
                known, what = self._params, f"the file has no parameter ${{{address.key}}}"
            elif address.kind == "prompts":
                known, what = frozenset(texts), f"there is no prompt {address.key!r}"
            if known is not None and address.key not in known:
                yield self.placed(ConfigError(what, fix=suggestion(address.key, known)), name)

    def _values(self) -> Iterator[RagError]:
        """What is wrong with a dimension beside the flow as it is, its conditions met."""
        for name in self.order:
            one = self.dimensions[name]
            values = one.values() if isinstance(one, Choice) else (one.low, one.high)
            for value in values or ():
                config = {**(self.alone(name) or {}), name: value}
                try:
                    self._build(config, whole=False)
                except RagError as error:
                    if isinstance(error, BuildError) and self._is(name, "steps"):
                        continue  # it may fit beside other values
                    yield self.placed(error, name)
                    break

    # Configurations

    def sample(self, rng: random.Random, fixed: Config | None = None) -> dict[str, Value]:
        """A configuration at random; whether it fits together is not seen to.

        Args:
            rng: The source of randomness.
            fixed: Values that are given.
        """
        config: dict[str, Value] = {}
        for name in self.order:
            one = self.dimensions[name]
            if active(one, config):
                drawn = _drawn(one, rng)
                config[name] = (fixed or {}).get(name, drawn)
        return config

    def grid(self) -> Iterator[dict[str, Value]]:
        """All configurations.

        Raises:
            ConfigError: A range has no step.
        """

        def below(at: int, config: dict[str, Value]) -> Iterator[dict[str, Value]]:
            if at == len(self.order):
                yield dict(config)
                return
            name = self.order[at]
            one = self.dimensions[name]
            if not active(one, config):
                yield from below(at + 1, config)
                return
            values = one.values()
            if values is None:
                fix = "give it a step, or another sampler than grid"
                error = ConfigError(f"{name} has too many values to list", fix=fix)
                raise self.placed(error, name)
            for value in values:
                yield from below(at + 1, {**config, name: value})

        yield from below(0, {})

    def size(self) -> int | None:
        """How many configurations there are; None: more than are counted."""
        if any(one.values() is None for one in self.dimensions.values()):
            return None
        count = 0
        for _ in self.grid():
            count += 1
            if count > LISTED:
                return None
        return count

    def problem(self, config: Config) -> RagError | None:
        """Why a configuration does not fit together; None: it does."""
        try:
            self.build(config)
        except RagError as error:
            return error
        return None

    def build(self, config: Config, texts: Mapping[str, Mapping[str, str]] | None = None) -> Flow:
        """The flow of a configuration, checked.

        Args:
            config: Of every dimension that counts, its value.
            texts: Dimension of a prompt to texts that a model proposed: name to text.

        Raises:
            BuildError, ConfigError: It does not fit together.
        """
        missing = [
            name
            for name in self.order
            if name not in config and active(self.dimensions[name], config)
        ]
        if missing or config.keys() - self.dimensions.keys():
            wrong = missing or sorted(config.keys() - self.dimensions.keys())
            raise ConfigError(f"the configuration does not fit the space: {', '.join(wrong)}")
        return self._build(config, texts=texts or {})

    def _build(
        self,
        config: Config,
        *,
        whole: bool = True,
        texts: Mapping[str, Mapping[str, str]] | None = None,
    ) -> Flow:
        """The flow with these values.

        With `whole`, what leaves a step out or exchanges it is checked together with the rest.
        """
        chosen = {name: self._value(name, config[name], texts or {}) for name in config}
        params = {self.addresses[n].key: v for n, v in chosen.items() if self._is(n, "params")}
        flow = self._with_params(params)
        named = [name for name in self.dimensions if name in chosen]
        for name in (n for n in named if self._is(n, "steps") and not self.addresses[n].field):
            flow = with_step(flow, self.addresses[name].key, _node(chosen[name]), self._spare)
        for name in (n for n in named if self._is(n, "steps") and self.addresses[n].field):
            address = self.addresses[name]
            flow = with_field(flow, address.key, address.field, chosen[name], self._spare)
        for name in (n for n in named if self._is(n, "resources")):
            address = self.addresses[name]
            if address.key in self._spare and address.key not in flow.resources.specs:
                continue  # no step of this configuration binds it
            flow = with_resource(flow, address.key, address.field, chosen[name])
        given = {n: chosen[n] for n in named if self._is(n, "prompts") and chosen[n] is not None}
        by_model: dict[str, dict[str, str]] = {}
        for name, value in given.items():
            one = self.dimensions[name]
            model = one.by if isinstance(one, Choice) else "llm"
            by_model.setdefault(model, {})[self.addresses[name].key] = str(value)
        for model, own in by_model.items():
            flow = with_prompts(flow, model, own, self.folder)
        return flow

    def _is(self, name: str, kind: str) -> bool:
        return self.addresses[name].kind == kind

    def _value(self, name: str, value: Value, texts: Mapping[str, Mapping[str, str]]) -> Any:
        one = self.dimensions[name]
        if isinstance(one, Range):
            return value
        options = {**one.options, **texts.get(name, {})}
        if value not in options:
            fix = suggestion(str(value), options)
            raise ConfigError(f"{name} has no value {value!r}", fix=fix)
        return options[str(value)]

    def _with_params(self, params: Mapping[str, Any]) -> Flow:
        if not params or self._load is None:
            return self.flow
        key = config_key(params)
        if key not in self._loaded:
            self._loaded[key] = self._load(params)
        return self._loaded[key]


def _node(value: Any) -> Any:
    return None if value is None else as_node(Sequence() if value == [] else value)


def _drawn(one: Dimension, rng: random.Random) -> Value:
    values = one.values()
    if values is not None and not (isinstance(one, Range) and one.log):
        return rng.choice(tuple(values))
    assert isinstance(one, Range)  # noqa: S101 - a choice lists its values
    if one.log:
        drawn = one.low * (one.high / one.low) ** rng.random()
    else:
        drawn = rng.uniform(one.low, one.high)
    return int(min(max(round(drawn), one.low), one.high)) if one.whole else float(drawn)


def config_key(config: Mapping[str, Any]) -> str:
    """A configuration as text that is the same for equal ones."""
    return json.dumps(dict(config), sort_keys=True, default=str)
