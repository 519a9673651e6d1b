"""Numbers that suit a model, found by comparing composed prompts with full prefill."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rag.errors import ConfigError
from rag.files import write_atomically
from rag.kvcache.composition import Defaults
from rag.kvcache.decode import decode
from rag.kvcache.passes import Pass
from rag.kvcache.settings import ReuseSettings
from rag.paths import cache_folder

if TYPE_CHECKING:
    from rag.kvcache.engine import KVEngine
    from rag.kvcache.prefilled import Prefilled
    from rag.prompts.layout import PromptTokens

TEMPERATURES = (0.7, 0.8, 0.9, 1.0)
SCALES = (0.7, 0.8, 0.9, 1.0)
FRACTIONS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 1.0)
ANSWER = 16
"""Tokens of full prefill's answer by which the composers are compared with it."""


@dataclass(frozen=True)
class Calibration:
    """Numbers found for a model.

    Attributes:
        temperature: T of APE.
        scale: S of APE.
        fraction: The smallest share recomputed by `focus` that reaches the target.
        kept: Likelihood per token of full prefill's answer under `focus` with that share, relative
            to full prefill: 0 to 1.
        parallel_kl: KL divergence of the first token from full prefill's, of `parallel`, in nats.
        ape_kl: The same of `ape`.
        prompts: How many were compared.
    """

    temperature: float
    scale: float
    fraction: float
    kept: float
    parallel_kl: float
    ape_kl: float
    prompts: int

    @property
    def defaults(self) -> Defaults:
        """The numbers as an engine takes them."""
        return Defaults(self.temperature, self.scale, self.fraction)


def calibrate(
    engine: KVEngine,
    prompts: Sequence[PromptTokens],
    target: float,
    ends: frozenset[int] = frozenset(),
    progress: Callable[[int, int], None] = lambda done, all_: None,
) -> Calibration:
    """Find T and S, and the share to recompute, on sample prompts.

    T and S minimise the mean KL divergence of the first token's distribution from full prefill's.
    The share is the smallest under which the likelihood per token of full prefill's answer,
    relative to full prefill, reaches the target.

    Args:
        engine: With the model.
        prompts: Sample prompts.
        target: 0 to 1.
        ends: Tokens that end an answer.
        progress: Called with how many of how many prompts are done.
    """
    grid = [(t, s) for t in TEMPERATURES for s in SCALES]
    ape = dict.fromkeys(grid, 0.0)
    kept = dict.fromkeys(FRACTIONS, 0.0)
    for number, parts in enumerate(prompts, start=1):
        full = engine.prefill(*parts, ReuseSettings(mode="full"), room=ANSWER + 1)
        own = greedy(engine, full, ANSWER, ends)
        reference = likelihood(engine, full, own)
        for t, s in grid:
            settings = ReuseSettings(mode="ape", temperature=t, scale=s)
            ape[t, s] += divergence(full, engine.prefill(*parts, settings))
        for fraction in FRACTIONS:
            settings = ReuseSettings(mode="focus", fraction=fraction)
            done = engine.prefill(*parts, settings, room=ANSWER + 1)
            kept[fraction] += likelihood(engine, done, own) - reference
        progress(number, len(prompts))
    count = len(prompts)
    shares = {fraction: _exp(total / count) for fraction, total in kept.items()}
    enough = [fraction for fraction in FRACTIONS if shares[fraction] >= target]
    fraction = min(enough, default=1.0)
    best = min(grid, key=lambda one: ape[one])
    return Calibration(
        temperature=best[0],
        scale=best[1],
        fraction=fraction,
        kept=shares[fraction],
        parallel_kl=ape[1.0, 1.0] / count,
        ape_kl=ape[best] / count,
        prompts=count,
    )


def greedy(
    engine: KVEngine, done: Prefilled, limit: int, ends: frozenset[int], draft: int = 0
) -> list[int]:
    """The greedy answer to a prefilled prompt, whose buffer is as long as before afterwards.

    Args:
        engine: With the model.
        done: The prompt, with room for the answer.
        limit: Tokens at most.
        ends: Tokens that end an answer; not part of it.
        draft: Tokens proposed at a time, as in `decode`.
    """
    import torch

    length, answer = done.buffer.length, []
    with torch.inference_mode():
        for token in decode(
            engine.view, done, lambda logits: int(logits.argmax()), limit, draft=draft
        ):
            if token in ends:
                break
            answer.append(token)
    done.buffer.cut(length)
    return answer


def likelihood(engine: KVEngine, done: Prefilled, answer: Sequence[int]) -> float:
    """Mean log-likelihood per token of an answer to a prefilled prompt, teacher-forced, in nats.

    The buffer needs room for the answer, and is as long as before afterwards.
    """
    import torch

    if not answer:
        return 0.0
    length = done.buffer.length
    with torch.inference_mode():
        logits = [done.logits.float()]
        if len(answer) > 1:
            one = Pass.consecutive(answer[:-1], done.position, done.buffer, done.plan)
            (rest,) = engine.view.steps([one])
            logits += list(rest.float())
        done.buffer.cut(length)
        logs = [one.log_softmax(-1)[at].item() for one, at in zip(logits, answer, strict=True)]
    return float(sum(logs) / len(logs))


def divergence(full: Prefilled, other: Prefilled) -> float:
    """KL divergence of the first token's distribution from full prefill's, in nats."""
    theirs, ours = (one.logits.float().log_softmax(-1) for one in (full, other))
    return float((theirs.exp() * (theirs - ours)).sum())


def _exp(value: float) -> float:
    from math import exp

    return min(1.0, exp(value))


def path_of(fingerprint: str) -> Path:
    """The file of a model's calibration, in the user's cache folder."""
    return cache_folder() / "calibration" / f"{fingerprint}.json"


def save(found: Calibration, fingerprint: str) -> Path:
    """Store a calibration for every later use of the model; returns its file."""
    path = path_of(fingerprint)
    write_atomically(path, json.dumps(asdict(found), indent=2) + "\n")
    return path


def load(fingerprint: str) -> Calibration | None:
    """A model's calibration; None: it was not calibrated.

    Raises:
        ConfigError: The file is no calibration.
    """
    path = path_of(fingerprint)
    try:
        return Calibration(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        fix = "remove it, or calibrate again: rag cache calibrate"
        raise ConfigError(f"no calibration: {error}", where=str(path), fix=fix) from error
