"""From a pipeline file with `tune:` to its search space, with the line of everything wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rag.errors import BuildError, ConfigError, RagError
from rag.flow import Flow
from rag.flow.registry import Registry
from rag.flow.yaml.reader import Reader
from rag.flow.yaml.source import raise_all, read_text
from rag.flow.yaml.values import plain
from rag.flow.yaml.values import text as as_text
from rag.names import suggestion
from rag.tune.dimensions import Address, Choice, Dimension, Range
from rag.tune.settings import Settings
from rag.tune.space import Space

KEY = "tune"
RANGE = ("low", "high", "step", "log", "when")
CHOICE = ("choose", "when", "propose", "by")


@dataclass(frozen=True)
class Tuning:
    """What a file says of a search.

    Attributes:
        flow: The pipeline as it is written.
        space: What may be otherwise.
        settings: How it is searched.
        text: The file's text.
        path: The file.
    """

    flow: Flow
    space: Space
    settings: Settings
    text: str
    path: Path


def read_tuning(path: Path, **more: Any) -> Tuning:
    """Read a pipeline file and its `tune:`.

    Args:
        path: The file.
        more: As of `find_tuning`.

    Raises:
        ConfigError: It cannot be read, or there is no `tune:`.
        BuildError: What is wrong with the pipeline or the space; all problems, with their lines.
    """
    found = find_tuning(path, **more)
    if found is None:
        raise ConfigError(
            "there is no `tune:`", where=str(path),
            fix="add what may be otherwise: tune: {space: {steps.rerank.k: [8, 16]}}",
        )  # fmt: skip
    return found


def find_tuning(
    path: Path,
    *,
    params: Mapping[str, Any] | None = None,
    registry: Registry | None = None,
    base: Path | None = None,
    folder: Path | None = None,
) -> Tuning | None:
    """Read a pipeline file and its `tune:`; None: it has none.

    Args:
        path: The file.
        params: Values of its parameters.
        registry: The operators that it may use.
        base: The folder that relative paths start from; default: the file's.
        folder: Where files of prompts are written.

    Raises:
        ConfigError: It cannot be read.
        BuildError: What is wrong with the pipeline or the space; all problems, with their lines.
    """
    text = read_text(path)
    known, given = registry or Registry(), dict(params or {})
    where = base or path.parent

    def load(more: Mapping[str, Any]) -> Flow:
        return Reader(path, where, known, {**given, **more}).flow(text)

    reader = Reader(path, where, known, given)
    flow = reader.flow(text)
    section = reader.sections.get(KEY)
    if section is None:
        return None
    if not isinstance(section, Mapping):
        raise ConfigError("`tune` is not a mapping", where=reader.file, fix="write tune: {...}")
    reader.known(section, ("space", "resources", *Settings.model_fields))
    settings = _settings(reader, section)
    spare = section.get("resources") or {}
    if not isinstance(spare, Mapping):
        reader.problem(section, "`resources` is not a mapping", "write {name: what}", "resources")
        spare = {}
    lines, dimensions = _dimensions(reader, section)
    raise_all(reader.problems)
    space = Space(
        flow,
        dimensions,
        load=load,
        params=frozenset(reader.parameters),
        where=lines,
        folder=folder,
        resources=plain(spare),
    )
    return Tuning(flow, space, settings or Settings(), text, path)


def _settings(reader: Reader, section: Mapping[str, Any]) -> Settings | None:
    given = {key: value for key, value in plain(section).items() if key in Settings.model_fields}
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        for one in error.errors():
            key = str(one["loc"][0]) if one["loc"] else ""
            said = one["msg"].removeprefix("Value error, ")
            what, _, fix = said.partition("; ")
            place = ".".join(str(part) for part in one["loc"])
            inside = section.get(key)
            deep = one["loc"][1] if len(one["loc"]) > 1 else None
            holder, at = (inside, deep) if isinstance(inside, Mapping) and deep else (section, key)
            hint = fix or _hint(str(one["type"]), key)
            reader.problem(holder, f"{place}: {what}" if place else what, hint, at)
        return None


def _hint(kind: str, key: str) -> str:
    field = Settings.model_fields.get(key)
    if field is not None and field.description:
        return field.description
    return "mend it" if kind == "value_error" else "see docs/tuning.md"


def _dimensions(
    reader: Reader, section: Mapping[str, Any]
) -> tuple[dict[str, str], dict[str, Dimension]]:
    """Address to line, and to dimension."""
    given = section.get("space")
    fix = "write space: {steps.rerank.k: [8, 16]}"
    if not isinstance(given, Mapping) or not given:
        reader.problem(section, "there is no `space`", fix, "space")
        return {}, {}
    lines: dict[str, str] = {}
    found: dict[str, Dimension] = {}
    for name, value in given.items():
        lines[str(name)] = reader.where(given, name)
        before = len(reader.problems)
        try:
            address = Address.parse(str(name))
            found[str(name)] = _dimension(reader, given, name, value, address)
        except RagError as error:
            first = error.problems[0] if isinstance(error, BuildError) else error
            if len(reader.problems) == before:
                reader.problem(given, f"{name}: {first.what}", first.fix, name)
    return lines, found


def _dimension(reader: Reader, given: Any, name: Any, value: Any, address: Address) -> Dimension:
    make = Choice.of_texts if address.kind == "prompts" else Choice.of
    if isinstance(value, list):
        return make(_options(reader, value, address))
    if not isinstance(value, Mapping):
        raise ConfigError("not a list of values", fix="write [8, 16], or {low: 4, high: 32}")
    when = _when(value.get("when") or {})
    if "low" in value or "high" in value:
        return _range(reader, value, when)
    reader.known(value, CHOICE if address.kind == "prompts" else CHOICE[:2])
    options = value.get("choose", [])
    if not isinstance(options, list | Mapping):
        raise ConfigError("`choose` is not a list", fix="write choose: [8, 16]")
    more: dict[str, Any] = {}
    if address.kind == "prompts":
        propose = value.get("propose", 0)
        if not isinstance(propose, int) or propose < 0:
            raise ConfigError(f"propose is {propose!r}", fix="give a number of texts")
        more = {"propose": propose, "by": str(value.get("by", "llm"))}
    return make(_options(reader, options, address), when=when, **more)


def _range(reader: Reader, value: Mapping[str, Any], when: Any) -> Range:
    reader.known(value, RANGE)
    numbers = {key: plain(value.get(key)) for key in ("low", "high", "step")}
    for key, number in numbers.items():
        wrong = isinstance(number, bool) or not isinstance(number, int | float)
        if wrong and not (key == "step" and number is None):
            raise ConfigError(f"{key} is {number!r}, not a number", fix="write {low: 4, high: 32}")
    return Range(
        numbers["low"], numbers["high"], numbers["step"], log=bool(value.get("log")), when=when
    )


def _when(given: Any) -> dict[str, tuple[Any, ...]]:
    if not isinstance(given, Mapping):
        fix = "write when: {steps.rerank: cross_rerank}"
        raise ConfigError("`when` is not a mapping", fix=fix)
    found = {}
    for name, values in given.items():
        listed = values if isinstance(values, list) else [values]
        if not listed:
            raise ConfigError(f"`when`: {name} has no value", fix="name one")
        found[str(name)] = tuple(_name(one) for one in listed)
    return found


def _name(value: Any) -> Any:
    """A value as the option of that name, or the number."""
    if value is None:
        return "none"
    return as_text(value) if isinstance(value, bool | str) else plain(value)


def _options(reader: Reader, values: Any, address: Address) -> Any:
    """The values of a dimension: nodes for a whole step, else plain ones."""
    if address.kind != "steps" or address.field:
        return plain(values)
    if isinstance(values, Mapping):
        return {as_text(n): _alternative(reader, values, n, one) for n, one in values.items()}
    return [_alternative(reader, values, at, one) for at, one in enumerate(values)]


def _alternative(reader: Reader, values: Any, key: Any, value: Any) -> Any:
    """A node; None: the step is left out."""
    if value is None:
        return None
    if isinstance(value, str):
        names = [*reader.registry]
        fix = f"write {{use: {value}}}" if value in names else suggestion(value, names)
        reader.problem(values, f"{value!r} is not a step", fix, key)
        return None
    return reader.node(value, values, key)
