"""Chunks described by a language model at ingest.

Questions: document expansion, doc2query (Nogueira et al. 2019, arXiv 1904.08375). Context: each
chunk is situated by a model that reads the whole document (contextual retrieval, Anthropic,
September 2024). Propositions: Chen et al. 2023, arXiv 2312.06648. Triples: open information
extraction for a graph (HippoRAG, arXiv 2405.14831, section 2.2). What the model writes goes into a
chunk's metadata and is embedded and indexed with its text or in its place
(`rag.text.chunk.Chunk.indexed_text`); what is read later is the text. Propositions are chunks of
their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from rag.index.ingest.written import described
from rag.kvcache.settings import ReuseSettings
from rag.models import Prompt, Sampling
from rag.models.together import together
from rag.prompts.sanitize import harmless
from rag.prompts.templates import PromptTemplate
from rag.text.chunk import Chunk
from rag.text.joining import joined

if TYPE_CHECKING:
    from rag.flow import RunContext
    from rag.index.spec import DescribeSpec
    from rag.models import LLM

MARGIN = 96
"""Tokens kept free for the chat template."""


async def describe(
    chunks: Sequence[Chunk],
    how: DescribeSpec,
    llm: LLM,
    *,
    system: str | None = None,
    ctx: RunContext | None = None,
) -> list[Chunk]:
    """The chunks with what the model wrote of each; unchanged where it wrote nothing.

    For a context the model reads the document that the chunks of one source are put together to,
    or, where that exceeds its window, as much of it as fits, consecutive chunks together. A local
    model computes the states of a document once and reuses them for all of its chunks. For a
    served one the first chunk of a document is described before its others, so that a provider's
    prefix cache finds it.

    Args:
        chunks: What is described, one call each, as many at once as the model takes; those of a
            source in the order of its text.
        how: What is written.
        llm: The model.
        system: Replaces the prompt `describe_...`; `{n}` stands for `how.most`.
        ctx: Counts the calls, and gets a warning of chunks that were cut or got nothing.

    Raises:
        ModelError: The model cannot be reached.
        BudgetError: The run exceeded its budget.
    """
    template = llm.prompt_set[f"describe_{how.by}"] if system is None else PromptTemplate(system)
    writer = _Writer(llm, how, template.format(n=how.most), ctx)
    if how.by != "context":
        found = await together(writer.of_itself, chunks, llm.profile.concurrency)
    else:
        found = await writer.in_documents(chunks)
    writer.warn(len(chunks))
    return [chunk for several in found for chunk in several]


@dataclass
class _Writer:
    """Calls of the model for chunks, counted.

    Attributes:
        llm: The model.
        how: What is written.
        instruction: What the model is told.
        ctx: The run that is charged.
        cut: Chunks so far that did not fit the window.
        empty: Chunks so far of which the model wrote nothing.
    """

    llm: LLM
    how: DescribeSpec
    instruction: str
    ctx: RunContext | None
    cut: int = 0
    empty: int = 0

    @property
    def room(self) -> int:
        """Tokens of the window that are left for documents."""
        fixed = self.llm.count(self.instruction) + self.how.tokens + self.llm.profile.reasoning
        return max(self.llm.window - fixed - MARGIN, 2)

    async def of_itself(self, chunk: Chunk) -> list[Chunk]:
        """A chunk described by its own text."""
        text = self._clipped(chunk.text, self.room)
        return await self._call(chunk, Prompt(self.instruction, chunks=(text,), numbered=False))

    async def in_documents(self, chunks: Sequence[Chunk]) -> list[list[Chunk]]:
        """Chunks described by the documents that they stand in, in their order."""
        parts = [
            part
            for _, one in groupby(chunks, lambda chunk: chunk.source or chunk.path or object())
            for part in self._parts(list(one))
        ]
        # The states of documents take memory: those of one are reused before the next comes.
        rounds = [[part] for part in parts] if self.llm.reuses else [parts]
        found: dict[int, list[list[Chunk]]] = {}
        for some in rounds:
            for at in (slice(1), slice(1, None)):
                asked = [(part, chunk) for part in some for chunk in part.chunks[at]]
                written = await together(self._situated, asked, self.llm.profile.concurrency)
                for (part, _), one in zip(asked, written, strict=True):
                    found.setdefault(id(part), []).append(one)
        return [one for part in parts for one in found[id(part)]]

    async def _situated(self, asked: tuple[_Part, Chunk]) -> list[Chunk]:
        part, chunk = asked
        text = self._clipped(harmless(chunk.text), self.room // 2)
        question = self.llm.prompt_set["quote_passage"].format(query=self.instruction, text=text)
        prompt = Prompt(question, chunks=(part.text,), numbered=False)
        reuse = ReuseSettings(mode="prefix") if self.llm.reuses else None
        return await self._call(chunk, prompt, reuse)

    def _parts(self, chunks: list[Chunk]) -> Iterator[_Part]:
        """The document of these chunks, or parts of it that fit half of the window and more."""
        sizes = [self.llm.count(chunk.text) + 2 for chunk in chunks]
        room = max(self.room - min(max(sizes), self.room // 2), 1)
        first = total = 0
        for at, size in enumerate(sizes):
            if at > first and total + size > room:
                yield self._part(chunks[first:at], room)
                first, total = at, 0
            total += size
        yield self._part(chunks[first:], room)

    def _part(self, chunks: list[Chunk], room: int) -> _Part:
        title = chunks[0].title
        text, _ = joined(chunks)
        whole = f"{title}\n\n{text}" if title and not text.lstrip("# ").startswith(title) else text
        return _Part(self.llm.clip(whole, room), chunks)

    def _clipped(self, text: str, room: int) -> str:
        kept = self.llm.clip(text, room)
        self.cut += len(kept) < len(text)
        return kept

    async def _call(
        self, chunk: Chunk, prompt: Prompt, reuse: ReuseSettings | None = None
    ) -> list[Chunk]:
        if self.ctx is not None:
            self.ctx.spend(llm_calls=1)
        done = await self.llm.generate(prompt, Sampling(max_tokens=self.how.tokens), reuse)
        if self.ctx is not None:
            self.ctx.spend(tokens=done.prompt_tokens + done.completion_tokens)
        found = described(chunk, done.text, self.how)
        self.empty += found == [chunk]
        return found

    def warn(self, chunks: int) -> None:
        """Tell the run what was cut and what got nothing, of so many chunks."""
        if self.ctx is not None and self.cut:
            window = f"the window of {self.llm.window} tokens"
            self.ctx.warn(f"{self.cut} of {chunks} documents are cut to {window}")
        if self.ctx is not None and self.empty:
            self.ctx.warn(f"the model wrote nothing of {self.empty} of {chunks} documents")


@dataclass(frozen=True, eq=False)
class _Part:
    """A document, or a part of it that fits the window, and the chunks in it."""

    text: str
    chunks: list[Chunk]
