"""Idealized runtime: what calls of a model cost on a quiet machine, by the tokens they compute.

Measured seconds depend on what else a machine does; the tokens of a call do not. So the costs of a
model's tokens are fitted once (`rag calibrate runtime`), and the runtime of a call follows from its
tokens: Narayanan et al. 2023 (arXiv 2305.02440), whose runtime is a sum of one function
of the prompt's tokens and one of the output's. Ours has in addition the states of chunks that are
reused, and the length of what each output token attends to.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.errors import ConfigError
from rag.files import write_atomically
from rag.paths import cache_folder, write_errors

if TYPE_CHECKING:
    from rag.flow.run.record import RunRecord

FIX = "calibrate it again: rag calibrate runtime"


@dataclass(frozen=True)
class ModelUse:
    """What one LLM call read and wrote.

    Attributes:
        model: The model's id.
        prompt_tokens: Of the whole prompt.
        completion_tokens: Of the output.
        reused_tokens: Of the prompt: those whose states were reused.
    """

    model: str
    prompt_tokens: int
    completion_tokens: int
    reused_tokens: int = 0


@dataclass(frozen=True)
class ModelCosts:
    """Seconds that a model's calls take where nothing else runs; none is below 0.

    Attributes:
        call: Of each call.
        prompt: Of each token of the prompt that is computed.
        attention: Of each pair of such tokens: the part that grows with the square.
        reused: Of each token whose states are reused.
        completion: Of each token of the output.
        context: Of each token of the output, for each token before it.
    """

    call: float = 0.0
    prompt: float = 0.0
    attention: float = 0.0
    reused: float = 0.0
    completion: float = 0.0
    context: float = 0.0

    def seconds(self, use: ModelUse) -> float:
        """What a call takes."""
        costs: list[float] = [getattr(self, field.name) for field in fields(self)]
        return sum(cost * value for cost, value in zip(costs, features(use), strict=True))


def features(use: ModelUse) -> tuple[float, ...]:
    """What the costs of a call are multiplied by, in the order of the fields of `ModelCosts`."""
    computed, written = use.prompt_tokens - use.reused_tokens, use.completion_tokens
    before = written * (use.prompt_tokens + (written - 1) / 2)
    # A computed token attends to reused ones too; they come first.
    pairs = computed * (use.reused_tokens + computed / 2)
    return (1.0, computed, pairs, use.reused_tokens, written, max(before, 0.0))


def used(record: RunRecord) -> tuple[ModelUse, ...]:
    """The calls of a run."""
    return tuple(
        ModelUse(
            call.model,
            call.prompt_tokens,
            call.completion_tokens,
            min(int((call.reuse or {}).get("reused", 0)), call.prompt_tokens),
        )
        for one in record.occurrences
        for call in one.calls
    )


def ideal_seconds(calls: Iterable[ModelUse]) -> float | None:
    """The idealized runtime of calls, one after another; None: a model was not calibrated."""
    total = 0.0
    for use in calls:
        costs = costs_of(use.model)
        if costs is None:
            return None
        total += costs.seconds(use)
    return total


def costs_of(model: str) -> ModelCosts | None:
    """The costs of a model that was calibrated on this machine; None: it was not.

    Args:
        model: Its id.

    Raises:
        ConfigError: The file of its costs is damaged.
    """
    path = costs_file(model)
    try:
        changed = path.stat().st_mtime_ns
    except OSError:
        return None
    return _read(path, changed)


def save_costs(model: str, costs: ModelCosts, notes: dict[str, Any]) -> Path:
    """Keep the costs of a model for this machine.

    Args:
        model: Its id.
        costs: Its costs.
        notes: How they were measured, for people.

    Raises:
        ConfigError: They cannot be written.
    """
    path = costs_file(model)
    text = json.dumps({"model": model, "costs": asdict(costs), **notes}, indent=2) + "\n"
    with write_errors(path, "RAG_CACHE_DIR"):
        write_atomically(path, text)
    return path


def costs_file(model: str) -> Path:
    """Where the costs of a model are kept."""
    name = re.sub(r"[^\w.-]", "-", model)[-60:]
    digest = hashlib.sha256(model.encode()).hexdigest()[:8]
    return cache_folder() / "runtime" / f"{name}-{digest}.json"


@lru_cache(maxsize=64)
def _read(path: Path, changed: int) -> ModelCosts:
    """The costs in a file as it was at one time of change."""
    try:
        given = json.loads(path.read_text(encoding="utf-8"))["costs"]
        costs = ModelCosts(**{name: float(value) for name, value in given.items()})
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        what = "this is no file of a model's costs"
        raise ConfigError(what, where=str(path), fix=FIX) from error
    if any(value < 0 for value in asdict(costs).values()):
        raise ConfigError("a cost is below 0", where=str(path), fix=FIX)
    return costs
