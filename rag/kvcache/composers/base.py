"""What a composer is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from rag.kvcache.plan import Masked, Plan
from rag.kvcache.report import Kind

if TYPE_CHECKING:
    from rag.kvcache.composition import Composition, Defaults
    from rag.kvcache.passes import Passes
    from rag.kvcache.prefilled import Prefilled

Fraction = Annotated[float, Field(ge=0, le=1)]
Stored = Literal["nothing", "chains", "chunks", "variants"]
"""What a composer stores: chains of segments from the prompt's first token on, chunks computed
alone behind the prefix, or variants of a chunk, each computed behind other chunks."""


class Composer(BaseModel, ABC):
    """A rule by which stored states become those of a prompt. Its fields are its settings.

    A subclass with a `mode` is registered under that name; the modules of this package are found
    by themselves (`registry`).

    Attributes:
        mode: Its name in `reuse: {mode: ...}`.
        kind: How near its answers are to those of full prefill.
        stores: What it stores.
        relocates: Whether states are used elsewhere than where they were computed, which not every
            model allows.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: ClassVar[str]
    kind: ClassVar[Kind]
    stores: ClassVar[Stored]
    relocates: ClassVar[bool] = True
    registered: ClassVar[dict[str, type[Composer]]] = {}

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if "mode" in cls.__dict__:
            cls.registered[cls.mode] = cls

    def resolved(self, defaults: Defaults) -> Composer:
        """The composer that does the work with a model of which these are known."""
        return self

    def plan(self, composition: Composition) -> Plan:
        """How the suffix and the answer attend to the composed states."""
        return Masked()

    @abstractmethod
    def compose(self, composition: Composition) -> Passes[Prefilled]:
        """Make the states of a prompt, and report on its chunks in `composition.report`.

        A generator: each pass that the model is to make is yielded and its logits come back
        (`logits = yield Pass(...)`). Between two passes, and within one that is larger than a
        slice, passes of other prompts are made, and the work may be closed. It runs in inference
        mode.
        """

    def warm(self, composition: Composition) -> Passes[bool]:
        """Compute and store a prompt's last chunk behind the others, before any question.

        Of composers that store variants.

        Returns:
            Whether it was not there yet.
        """
        raise NotImplementedError(f"{self.mode} stores no variants")
