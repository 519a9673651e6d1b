"""Adaptive parallel encoding (APE)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, PositiveFloat

from rag.kvcache.composers.parallel import Parallel
from rag.kvcache.plan import Plan, Reweighted

if TYPE_CHECKING:
    from rag.kvcache.composition import Composition


class Ape(Parallel):
    """As `parallel`, with a temperature and a scale for attention to the chunks.

    Yang et al. 2025, arXiv 2502.05431, section 4.
    """

    mode: ClassVar[str] = "ape"

    temperature: PositiveFloat | None = Field(
        default=None, description="T: scores over the chunks are divided by it; default: calibrated"
    )
    scale: PositiveFloat | None = Field(
        default=None, description="S: factor of the chunks' log-sum-exp; default: calibrated"
    )

    def plan(self, composition: Composition) -> Plan:
        """See `Composer.plan`."""
        context = (0, len(composition.layout.context))
        defaults = composition.defaults
        temperature = self.temperature or defaults.temperature
        return Reweighted(context, temperature, self.scale or defaults.scale)
