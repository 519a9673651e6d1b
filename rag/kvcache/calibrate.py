"""Numbers that suit a model, found by comparing composed prompts with full prefill."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rag.errors import ConfigError
from rag.files import write_atomically
from rag.kvcache.align import file
from rag.kvcache.composition import Defaults
from rag.kvcache.decode import decode
from rag.kvcache.passes import Pass
from rag.kvcache.settings import ReuseSettings
from rag.paths import cache_folder

if TYPE_CHECKING:
    from rag.kvcache.align.alignment import Alignment
    from rag.kvcache.engine import KVEngine
    from rag.kvcache.geometry import Geometry
    from rag.kvcache.prefilled import Prefilled
    from rag.prompts.layout import PromptTokens

_LOG = logging.getLogger(__name__)
TEMPERATURES = (0.7, 0.8, 0.9, 1.0)
SCALES = (0.7, 0.8, 0.9, 1.0)
FRACTIONS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 1.0)
BANDS = ((0, 1 / 2), (1 / 4, 1 / 2), (1 / 4, 2 / 3), (1 / 3, 2 / 3), (1 / 2, 5 / 6), (0, 1))
"""Shares of a model's layers in which the question may choose tokens."""
CHOSEN = 0.15
"""Share recomputed when bands of layers are compared."""
NEAR = 1.1
"""A band is as good as the best if its divergence is at most so many times the best's."""
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
        layers: First layer and end of those in which the question chooses tokens: the lowest end
            among the best.
        concat_kl: KL divergence as above with nothing recomputed.
        align_kl: The same after alignment; None: no map was fitted.
        prompts: How many were compared.
    """

    temperature: float
    scale: float
    fraction: float
    kept: float
    parallel_kl: float
    ape_kl: float
    layers: tuple[int, int]
    concat_kl: float
    align_kl: float | None
    prompts: int

    @property
    def aligns(self) -> bool:
        """Whether the map brought these prompts, which it was not fitted to, nearer to full."""
        return self.align_kl is not None and self.align_kl < self.concat_kl

    def defaults(self, alignment: Alignment | None = None) -> Defaults:
        """The numbers as an engine takes them, with the model's map."""
        return Defaults(self.temperature, self.scale, self.fraction, self.layers, alignment)


def calibrate(
    engine: KVEngine,
    prompts: Sequence[PromptTokens],
    target: float,
    ends: frozenset[int] = frozenset(),
    progress: Callable[[int, int], None] = lambda done, all_: None,
) -> Calibration:
    """Find T and S, the layers that choose tokens, and the share to recompute, on sample prompts.

    T and S minimise the mean KL divergence of the first token's distribution from full prefill's.
    The layers come next to the best choice, and stop lowest. The share is the smallest under which
    the likelihood per token of full prefill's answer, relative to full prefill, reaches the target.

    Args:
        engine: With the model, and its map in `defaults` if one was fitted.
        prompts: Sample prompts, others than the map was fitted to.
        target: 0 to 1.
        ends: Tokens that end an answer.
        progress: Called with how many of how many prompts are done.
    """
    grid = [(t, s) for t in TEMPERATURES for s in SCALES]
    ape = dict.fromkeys(grid, 0.0)
    kept = dict.fromkeys(FRACTIONS, 0.0)
    bands = dict.fromkeys(_bands(engine.view.layers), 0.0)
    alignment, concat, aligned = engine.defaults.alignment, 0.0, 0.0
    for number, parts in enumerate(prompts, start=1):
        full = engine.prefill(*parts.plain, ReuseSettings(mode="full"), room=ANSWER + 1)
        own = greedy(engine, full, ANSWER, ends)
        reference = likelihood(engine, full, own)
        for t, s in grid:
            settings = ReuseSettings(mode="ape", temperature=t, scale=s)
            ape[t, s] += divergence(full, engine.prefill(*parts.plain, settings))
        concat += divergence(full, engine.prefill(*parts.plain, ReuseSettings(mode="concat")))
        if alignment is not None:
            settings = ReuseSettings(mode="align", fraction=0.0)
            aligned += divergence(full, engine.prefill(*parts.plain, settings))
        for band in bands:
            chooses = replace(engine, defaults=replace(engine.defaults, layers=band))
            mode = "focus" if alignment is None else "align"
            settings = ReuseSettings(mode=mode, fraction=CHOSEN)
            bands[band] += divergence(full, chooses.prefill(*parts.plain, settings))
        for fraction in FRACTIONS:
            settings = ReuseSettings(mode="focus", fraction=fraction)
            done = engine.prefill(*parts.plain, settings, room=ANSWER + 1)
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
        layers=_lowest(bands),
        concat_kl=concat / count,
        align_kl=None if alignment is None else aligned / count,
        prompts=count,
    )


def _bands(layers: int) -> list[tuple[int, int]]:
    found = [(int(first * layers), max(1, int(end * layers))) for first, end in BANDS]
    return [(min(first, end - 1), end) for first, end in found]


def _lowest(bands: dict[tuple[int, int], float]) -> tuple[int, int]:
    """The band that ends lowest, and starts highest, of those that are as good as the best."""
    enough = NEAR * min(bands.values())
    good = [band for band, total in bands.items() if total <= enough]
    return min(good, key=lambda band: (band[1], -band[0]))


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
        numbers = json.loads(path.read_text(encoding="utf-8"))
        return Calibration(**{**numbers, "layers": tuple(numbers["layers"])})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        fix = "remove it, or calibrate again: rag cache calibrate"
        raise ConfigError(f"no calibration: {error}", where=str(path), fix=fix) from error


def defaults_for(fingerprint: str, geometry: Geometry) -> Defaults:
    """All that calibration found for a model.

    A map that cannot be used is warned of, and chunks are composed unaligned.

    Args:
        fingerprint: The model's.
        geometry: The shape of its states.

    Raises:
        ConfigError: The file of numbers is no calibration.
    """
    found = load(fingerprint)
    try:
        alignment = file.load(fingerprint, geometry)
    except ConfigError as error:
        _LOG.warning("chunks are composed without alignment: %s", error)
        alignment = None
    return Defaults(alignment=alignment) if found is None else found.defaults(alignment)
