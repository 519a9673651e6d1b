"""Citations, checked against the sources."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.documents import Document
from pydantic import BaseModel, Field

from rag.flow import Operator, RunContext
from rag.operators.attestation import Attestation, attested
from rag.operators.claims import MARK, SAYS
from rag.operators.scores import score_of
from rag.operators.support import support
from rag.text.abstention import abstains
from rag.text.chunk import Chunk
from rag.text.location import location
from rag.text.sentences import STOPS, sentences, spans


class Citation(BaseModel):
    """A source that the answer cites."""

    number: int = Field(description="the [n] in the answer")
    source: str = Field(description="where the document came from")
    title: str | None = None
    place: str = Field(description="path, page, heading: where to look")
    start: int | None = Field(default=None, description="first character in the loaded document")
    end: int | None = Field(default=None, description="after the last character")
    score: float | None = Field(default=None, description="score of the last ranking")
    support: float = Field(description="share of the citing sentence's words in it, 0 to 1")
    quote: str = Field(description="the sentence of the source that supports most")


class Cite(Operator):
    """Adds `[n]` to each sentence of the answer that a source supports, and lists the sources.

    Support is the share of the sentence's content words (numbers count double) that the source
    contains; none if a number, a date or a name is not in it, less if one of both is negated.
    Marks by the model are kept only if their source exists and supports the sentence, or their
    sources together do; a sentence without a mark gets the best source's. So a citation points to
    a document that has what is said; a sentence that says that none has it gets no mark. Removed
    marks and contradictions are warnings. For every answer that people read. Checks what citation
    precision and recall measure in ALCE (Gao et al. 2023, arXiv 2305.14627, section 4.3), by words
    instead of an entailment model. No LLM call.
    Reads `answer` and, if present, `documents`; writes `answer` and `citations`.
    Example: `{use: cite, threshold: 0.5}`
    """

    writes = ("answer", "citations")
    light = True

    threshold: float = Field(default=0.5, ge=0, le=1, description="support that a citation needs")

    def run(
        self, answer: str, documents: list[Document] | None = None, *, ctx: RunContext
    ) -> tuple[str, list[Citation]]:
        """The answer with checked marks, and its citations by number."""
        documents = documents or []
        texts = [Chunk.of(document).embedding_text for document in documents]
        cited: dict[int, tuple[float, str]] = {}
        pieces: list[str] = []
        last = 0
        for start, end in spans(answer):
            sentence = answer[start:end]
            plain = MARK.sub("", sentence)
            own = [int(number) for number in MARK.findall(sentence)]
            # What the sources do not say, none of them supports.
            marks = {} if abstains(plain) else self._marks(plain, own, texts, ctx)
            for number, supported in marks.items():
                if supported > cited.get(number, (-1.0, ""))[0]:
                    cited[number] = (supported, plain)
            pieces += [answer[last:start], _marked(plain, sorted(marks))]
            last = end
        citations = [
            _citation(number, documents[number - 1], *cited[number]) for number in sorted(cited)
        ]
        return "".join(pieces).strip(), citations

    def _marks(
        self, sentence: str, own: Sequence[int], texts: Sequence[str], ctx: RunContext
    ) -> dict[int, float]:
        """Source number to support, for the marks that the sentence gets."""
        found = {n: attested(sentence, text) for n, text in enumerate(texts, start=1)}
        kept = {n: found[n].support for n in own if n in found and self._enough(found[n])}
        if not kept and len(valid := [n for n in dict.fromkeys(own) if n in found]) > 1:
            together = attested(sentence, "\n\n".join(texts[n - 1] for n in valid))
            if self._enough(together):
                return {n: support(sentence, texts[n - 1]) for n in valid}
        for wrong in sorted(set(own) - set(kept)):
            why = f": {found[wrong].problem}" if wrong in found and found[wrong].problem else ""
            ctx.warn(f"the citation [{wrong}] is not supported and was removed{why}")
        if kept or not found:
            return kept
        best = max(found, key=lambda number: (found[number].support, -number))
        if self._enough(found[best]):
            return {best: found[best].support}
        contradicted = next((n for n in found if found[n].problem.startswith(SAYS)), None)
        if contradicted is not None and not own:
            ctx.warn(
                f"the source [{contradicted}] contradicts the answer: {found[contradicted].problem}"
            )
        return {}

    def _enough(self, found: Attestation) -> bool:
        return found.support >= self.threshold


def _marked(sentence: str, numbers: Sequence[int]) -> str:
    """The sentence with its marks before the full stop."""
    if not numbers:
        return sentence
    marks = "".join(f"[{number}]" for number in numbers)
    body = sentence.rstrip(STOPS)
    return f"{body} {marks}{sentence[len(body) :]}"


def _citation(number: int, document: Document, supported: float, sentence: str) -> Citation:
    chunk = Chunk.of(document)
    return Citation(
        number=number,
        source=chunk.source or chunk.path or chunk.id or "",
        title=chunk.title or None,
        place=location(document),
        start=chunk.start,
        end=chunk.end,
        score=score_of(document),
        support=round(supported, 3),
        quote=max(
            sentences(document.page_content, lines=True),
            key=lambda quote: support(sentence, quote),
            default="",
        ),
    )
