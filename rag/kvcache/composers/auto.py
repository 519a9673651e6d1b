"""The composer that measures best with what is known of the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from rag.kvcache.composers.aligned import Align
from rag.kvcache.composers.base import Composer, Fraction, Stored
from rag.kvcache.composers.craft import Craft
from rag.kvcache.report import Kind

if TYPE_CHECKING:
    from rag.kvcache.composition import Composition, Defaults
    from rag.kvcache.passes import Passes
    from rag.kvcache.prefilled import Prefilled


class Auto(Composer):
    """`align` where a map was fitted to the model (`rag cache calibrate`), otherwise `craft`.

    `docs/align.md` compares them.
    """

    mode: ClassVar[str] = "auto"
    kind: ClassVar[Kind] = "repaired"
    stores: ClassVar[Stored] = "variants"

    fraction: Fraction | None = Field(
        default=None, description="share of the context recomputed at most; default: the mode's own"
    )

    def resolved(self, defaults: Defaults) -> Composer:
        """See `Composer.resolved`."""
        if defaults.alignment is None:
            return Craft(fraction=self.fraction)
        return Align() if self.fraction is None else Align(fraction=self.fraction)

    def compose(self, composition: Composition) -> Passes[Prefilled]:
        """See `Composer.compose`."""
        return (yield from self.resolved(composition.defaults).compose(composition))
