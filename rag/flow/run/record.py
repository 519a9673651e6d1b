"""What can be read of a run afterwards: its channels, and each occurrence of its steps."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from rag.flow.place import Place
from rag.flow.run.values import details
from rag.plain import plain


@dataclass(slots=True)
class Call:
    """One call of a language model.

    Args:
        model: The model's id.
        prompt: The messages as sent: mappings of `role` and `content`.
        output: The text that came back.
        prompt_tokens: Tokens of the prompt.
        completion_tokens: Tokens of the output.
        seconds: What the call took.
        reuse: What of the prompt's states was reused and computed.
    """

    model: str
    prompt: tuple[Mapping[str, str], ...]
    output: str
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    reuse: Mapping[str, Any] | None = None


@dataclass(slots=True)
class Occurrence:
    """One occurrence of a step in a run.

    Args:
        place: Which one.
        started: Seconds since 1970.
        inputs: Parameter to value.
        writes: Channel to value; None: it did not end well.
        seconds: What it took.
        source: `cache` or `checkpoint` where it did not run.
        error: Why it failed.
        calls: Its calls of language models.
        text: What it streamed.
        events: Its custom events: name and data.
        warnings: What it warned of.
        attempts: How often it was started.
    """

    place: Place
    started: float
    inputs: Mapping[str, Any] = field(default_factory=dict)
    writes: Mapping[str, Any] | None = None
    seconds: float = 0.0
    source: str | None = None
    error: str | None = None
    calls: list[Call] = field(default_factory=list)
    text: str = ""
    events: list[tuple[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    attempts: int = 0

    @property
    def tokens(self) -> int:
        """Tokens of all its calls, read and written."""
        return sum(call.prompt_tokens + call.completion_tokens for call in self.calls)


@dataclass(slots=True)
class RunRecord:
    """A run that ended, well or not. `str()` is a table, `_repr_html_` the same in a notebook.

    Args:
        id: The run's id.
        flow: The flow's name.
        inputs: Channel to value.
        outputs: The flow's outputs; None: the run failed.
        channels: Every channel with its last value outside branches, loops and inner flows.
        occurrences: What ran, in the order of its starts.
        seconds: What the run took.
        llm_calls: Calls of language models.
        tokens: Tokens of all calls, read and written.
        error: Why it failed.
        truncated: How many occurrences are left out, as there were too many.
    """

    id: str
    flow: str | None
    inputs: Mapping[str, Any]
    outputs: dict[str, Any] | None = None
    channels: dict[str, Any] = field(default_factory=dict)
    occurrences: list[Occurrence] = field(default_factory=list)
    seconds: float = 0.0
    llm_calls: int = 0
    tokens: int = 0
    error: Exception | None = None
    truncated: int = 0

    def result(self) -> dict[str, Any]:
        """The outputs; raises what the run failed with."""
        if self.error is not None:
            raise self.error
        return self.outputs or {}

    def at(self, place: str) -> list[Occurrence]:
        """The occurrences of a step: by its place, with or without counts, or its label."""
        return [
            one
            for one in self.occurrences
            if place in (str(one.place), str(one.place.static), one.place.static[-1])
        ]

    def as_dict(self) -> dict[str, Any]:
        """The record as JSON data."""
        occurrences = []
        for one in self.occurrences:
            data = plain({name: getattr(one, name) for name in Occurrence.__dataclass_fields__})
            occurrences.append({**data, "place": str(one.place), "tokens": one.tokens})
        return {
            "id": self.id,
            "flow": self.flow,
            "inputs": plain(self.inputs),
            "outputs": plain(self.outputs),
            "channels": plain(self.channels),
            "seconds": self.seconds,
            "llm_calls": self.llm_calls,
            "tokens": self.tokens,
            "error": None if self.error is None else str(self.error),
            "truncated": self.truncated,
            "occurrences": occurrences,
        }

    def to_json(self) -> str:
        """The record as JSON text."""
        return json.dumps(self.as_dict(), ensure_ascii=False, indent=2)

    def lines(self, *, values: bool = False) -> Iterator[str]:
        """The record as text, a line per occurrence.

        Args:
            values: Add inputs, writes, prompts and outputs, indented below.
        """
        state = "failed" if self.error is not None else "done"
        yield (
            f"run {self.id} of {self.flow or 'a flow'}: {state} in {self.seconds:.3f} s, "
            f"{self.llm_calls} LLM calls, {self.tokens} tokens"
        )
        for one in self.occurrences:
            yield _line(one)
            if values:
                indent = "  " * (len(one.place) + 1)
                yield from (indent + line for line in details(one))
        if self.truncated:
            yield f"... and {self.truncated} more"
        if self.error is not None:
            yield f"error: {self.error}"

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def _repr_html_(self) -> str:
        from html import escape

        rows = []
        for one in self.occurrences:
            shown = "\n".join(map(escape, details(one)))
            cells = (str(one.place), f"{one.seconds:.3f}", str(one.tokens or ""), _state(one))
            cells_shown = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
            values = f"<details><summary>values</summary><pre>{shown}</pre></details>"
            rows.append(f"<tr>{cells_shown}<td style='text-align:left'>{values}</td></tr>")
        head = "".join(f"<th>{name}</th>" for name in ("place", "seconds", "tokens", "", ""))
        title = escape(next(self.lines()))
        error = "" if self.error is None else f"<p>{escape(str(self.error))}</p>"
        return f"<p>{title}</p>{error}<table><tr>{head}</tr>{''.join(rows)}</table>"


def _state(one: Occurrence) -> str:
    if one.error is not None and one.writes is None:
        return "failed"
    parts = [f"from {one.source}" if one.source else ""]
    parts += [f"{one.attempts} attempts" if one.attempts > 1 else ""]
    return ", ".join(filter(None, parts))


def _line(one: Occurrence) -> str:
    indent = "  " * len(one.place)
    parts = [f"{one.seconds:.3f} s"]
    if one.tokens:
        parts.append(f"{one.tokens} tokens")
    parts += filter(None, [_state(one)])
    wrote = ", ".join(one.writes or ())
    return f"{indent}{one.place}  {', '.join(parts)}" + (f"  -> {wrote}" if wrote else "")
