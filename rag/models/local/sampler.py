"""How the next token is chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rag.models.base import Sampling

if TYPE_CHECKING:
    import torch

    from rag.models.structured import Grammar


class Chosen:
    """Chooses token after token, and notes how likely each was.

    Args:
        sampling: How.
        device: Of the logits.
        grammar: What may be said at all.
    """

    def __init__(self, sampling: Sampling, device: Any, grammar: Grammar | None = None) -> None:
        import torch

        self.sampling = sampling
        self.once = sampling.temperature > 0 or sampling.logprobs or grammar is not None
        """Whether every token must be chosen once: by chance a proposed one would have to be
        drawn again in the same way, and notes and grammar follow what is said."""
        self._grammar = grammar
        self.logprobs: list[float] = []
        self._chance = torch.Generator(device=device)
        if sampling.seed is not None:
            self._chance.manual_seed(sampling.seed)
        else:
            self._chance.seed()

    def __call__(self, logits: torch.Tensor) -> int:
        """The next token: logits [vocabulary]."""
        if self._grammar is not None:
            logits = self._grammar.allow(logits)
        token = choose(logits, self.sampling, self._chance)
        if self._grammar is not None:
            self._grammar.take(token)
        if self.sampling.logprobs:
            self.logprobs.append(float(logits.float().log_softmax(-1)[token]))
        return token


def choose(logits: torch.Tensor, sampling: Sampling, chooser: torch.Generator) -> int:
    """The next token: the likeliest at temperature 0, else drawn from the nucleus.

    Args:
        logits: [vocabulary].
        sampling: Temperature and `top_p` (Holtzman et al. 2020, arXiv 1904.09751).
        chooser: Where chance comes from.
    """
    import torch

    if sampling.temperature <= 0:
        return int(logits.argmax())
    shares = torch.softmax(logits.float() / sampling.temperature, dim=-1)
    if sampling.top_p < 1:
        ordered, order = shares.sort(descending=True)
        beyond = ordered.cumsum(0) - ordered >= sampling.top_p
        shares = shares.index_fill(0, order[beyond], 0.0)
    return int(torch.multinomial(shares, 1, generator=chooser))
