"""What contextual retrieval costs at ingest, with and without the reuse of a document's states.

    python benchmarks/contextual_ingest.py FOLDER [--documents 4] [--tokens 1500] [--chunk 200]

Each chunk is situated by the model, which reads the whole document before it. The files of the
folder are put together to documents of so many tokens; the same chunks are described with the
document's states computed once, and with all of the prompt computed for each chunk. Answers are
cut at `--answer` tokens in both.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from time import perf_counter
from typing import Any

from langchain_core.documents import Document

from rag.index.ingest.describe import describe
from rag.index.spec import DescribeSpec
from rag.models import LLM, Generation
from rag.models.local.model import LocalLLM
from rag.text.chunk import Chunk
from rag.text.splitting import split


class Counted(LocalLLM):
    """A local model that counts the prompt tokens it computed, and may be kept from reusing."""

    computed = read = 0
    allowed = True

    @property
    def reuses(self) -> bool:
        return self.allowed and super().reuses

    async def generate(self, *args: Any, **named: Any) -> Generation:
        done = await super().generate(*args, **named)
        self.read += done.prompt_tokens
        self.computed += done.prompt_tokens - (done.reuse or {}).get("reused", 0)
        return done


def documents(folder: Path, llm: LLM, count: int, tokens: int) -> list[Document]:
    """Documents of so many tokens, made of the files' texts in their order."""
    files = sorted(one for one in folder.rglob("*") if one.suffix in (".md", ".txt"))
    text = "\n\n".join(one.read_text(encoding="utf-8", errors="replace") for one in files)
    found = []
    for number in range(count):
        part = llm.clip(text, tokens)
        if llm.count(part) < tokens // 2:
            break
        found.append(Document(page_content=part, metadata={"source": f"document {number}"}))
        text = text[len(part) :]
    return found


def described(llm: Counted, chunks: list[Chunk], *, reuse: bool, answer: int) -> tuple[float, int]:
    """Seconds, and prompt tokens that were computed."""
    llm.allowed, llm.computed = reuse, 0
    started = perf_counter()
    asyncio.run(describe(chunks, DescribeSpec(by="context", max_tokens=answer), llm))
    return perf_counter() - started, llm.computed


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--llm", default=LLM.default)
    parser.add_argument("--documents", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=1500)
    parser.add_argument("--chunk", type=int, default=200)
    parser.add_argument("--answer", type=int, default=32)
    given = parser.parse_args()
    llm = LLM.load(given.llm, base=Path())
    llm.__class__ = Counted
    assert isinstance(llm, Counted)
    read = documents(given.folder, llm, given.documents, given.tokens)
    chunks = split(
        read, size=given.chunk, overlap=0, count=lambda texts: [llm.count(text) for text in texts]
    )
    described(llm, chunks[:1], reuse=False, answer=1)  # the engine is built
    print(f"{len(read)} documents of {given.tokens} tokens, {len(chunks)} chunks, {llm.id}")
    found = {}
    for name, reuse in (("every prompt computed", False), ("documents computed once", True)):
        found[name] = described(llm, chunks, reuse=reuse, answer=given.answer)
        seconds, computed = found[name]
        print(f"{name:24} {seconds:7.1f} s {computed:8} prompt tokens computed")
    (slow, many), (fast, few) = found.values()
    print(f"{'ratio':24} {slow / fast:7.1f}   {many / few:8.1f}")


if __name__ == "__main__":
    main()
