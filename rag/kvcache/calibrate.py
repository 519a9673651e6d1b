"""Numbers that suit a model, found by comparing composed prompts with full prefill."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rag.errors import ConfigError
from rag.files import write_atomically
from rag.kvcache.decode import decode
from rag.kvcache.settings import ReuseSettings

if TYPE_CHECKING:
    from rag.kvcache.engine import KVEngine, Prefilled

Parts = tuple[list[int], list[list[int]], list[int]]
"""A prompt's token ids: prefix, chunks, suffix."""

TEMPERATURES = (0.7, 0.8, 0.9, 1.0)
SCALES = (0.7, 0.8, 0.9, 1.0)
FRACTIONS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 1.0)
ANSWER = 16
"""Tokens of full's own answer that the others are judged by."""


@dataclass(frozen=True)
class Calibration:
    """What was found for a model.

    Attributes:
        temperature: T of APE.
        scale: S of APE.
        fraction: The smallest share recomputed by `focus` that reaches the target.
        kept: Likelihood per token that `focus` keeps of full's own answer with that share.
        parallel_kl: KL divergence of the first token to full under `parallel`, in nats.
        ape_kl: The same under `ape`.
        prompts: How many were compared.
    """

    temperature: float
    scale: float
    fraction: float
    kept: float
    parallel_kl: float
    ape_kl: float
    prompts: int


def calibrate(
    engine: KVEngine,
    prompts: Sequence[Parts],
    target: float,
    ends: frozenset[int] = frozenset(),
    progress: Callable[[int, int], None] = lambda done, all_: None,
) -> Calibration:
    """Find T and S, and the share to recompute, on sample prompts.

    T and S minimise the mean KL divergence of the first token's distribution to full's. The
    share is the smallest whose answer likelihood, relative to full's, reaches the target.

    Args:
        engine: With the model.
        prompts: Sample prompts.
        target: 0 to 1.
        ends: Tokens that end an answer.
        progress: Told how many of how many prompts are done.
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
    """The greedy answer to a prefilled prompt, which is as it was afterwards."""
    import torch

    length, said = done.buffer.length, []
    with torch.inference_mode():
        for token in decode(
            engine.view, done, lambda logits: int(logits.argmax()), limit, draft=draft
        ):
            if token in ends:
                break
            said.append(token)
    done.buffer.cut(length)
    return said


def likelihood(engine: KVEngine, done: Prefilled, answer: Sequence[int]) -> float:
    """Mean log-likelihood per token of an answer to a prefilled prompt, teacher-forced, in nats.

    The prompt is as it was afterwards; its buffer needs room for the answer.
    """
    import torch

    if not answer:
        return 0.0
    length = done.buffer.length
    with torch.inference_mode():
        logits = [done.logits.float()]
        if len(answer) > 1:
            given = torch.tensor(answer[:-1])
            found = engine.view.step(given, done.position, done.buffer, **done.plan)
            logits += list(found.float())
        done.buffer.cut(length)
        logs = [one.log_softmax(-1)[at].item() for one, at in zip(logits, answer, strict=True)]
    return float(sum(logs) / len(logs))


def divergence(full: Prefilled, other: Prefilled) -> float:
    """KL divergence of the first token's distribution from full's, in nats."""
    theirs, ours = (one.logits.float().log_softmax(-1) for one in (full, other))
    return float((theirs.exp() * (theirs - ours)).sum())


def _exp(value: float) -> float:
    from math import exp

    return min(1.0, exp(value))


def path_of(fingerprint: str) -> Path:
    """Where a model's calibration is kept: in the user's cache folder."""
    from platformdirs import user_cache_path

    return user_cache_path("modular-rag") / "calibration" / f"{fingerprint}.json"


def save(found: Calibration, fingerprint: str) -> Path:
    """Keep a calibration for every later use of the model."""
    path = path_of(fingerprint)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(asdict(found), indent=2) + "\n")
    return path


def load(fingerprint: str) -> Calibration | None:
    """What was found for a model, if it was calibrated.

    Raises:
        ConfigError: The file holds something else.
    """
    path = path_of(fingerprint)
    try:
        return Calibration(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        fix = "remove it, or calibrate again: rag cache calibrate"
        raise ConfigError(f"no calibration: {error}", where=str(path), fix=fix) from error
