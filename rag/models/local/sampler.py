"""How the next token is chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rag.models.llm import Sampling

if TYPE_CHECKING:
    import torch

    from rag.models.local.grammar import Grammar


class Sampler:
    """Chooses one token after another, and records their log-probabilities if asked to.

    Args:
        sampling: How.
        device: Of the logits.
        grammar: Which tokens are allowed; None: all.
    """

    def __init__(self, sampling: Sampling, device: Any, grammar: Grammar | None = None) -> None:
        import torch

        self.sampling = sampling
        self.stateful = bool(sampling.temperature) or sampling.logprobs or grammar is not None
        """Whether each token must be chosen exactly once, so that none can be proposed and
        verified: the random generator, the recorded log-probabilities and the grammar advance
        with every choice."""
        self._grammar = grammar
        self.logprobs: list[float] = []
        """Of the tokens chosen so far, in nats; empty unless the sampling asks for them."""
        self._generator = torch.Generator(device=device)
        if sampling.seed is not None:
            self._generator.manual_seed(sampling.seed)
        else:
            self._generator.seed()

    def __call__(self, logits: torch.Tensor) -> int:
        """The next token: logits [vocabulary]."""
        if self._grammar is not None:
            logits = self._grammar.allow(logits)
        token = sample(logits, self.sampling, self._generator)
        if self._grammar is not None:
            self._grammar.take(token)
        if self.sampling.logprobs:
            self.logprobs.append(float(logits.float().log_softmax(-1)[token]))
        return token


def sample(logits: torch.Tensor, sampling: Sampling, generator: torch.Generator) -> int:
    """The next token: the most likely at temperature 0, else sampled from the nucleus.

    Args:
        logits: [vocabulary].
        sampling: Temperature, by default 0, and `top_p` (Holtzman et al. 2020, arXiv 1904.09751).
        generator: The source of randomness.
    """
    import torch

    if not sampling.temperature:
        return int(logits.argmax())
    probabilities = torch.softmax(logits.float() / sampling.temperature, dim=-1)
    if sampling.top_p is not None and sampling.top_p < 1:
        ordered, order = probabilities.sort(descending=True)
        beyond = ordered.cumsum(0) - ordered >= sampling.top_p
        probabilities = probabilities.index_fill(0, order[beyond], 0.0)
    return int(torch.multinomial(probabilities, 1, generator=generator))
