"""From what a model wrote of a chunk to the chunks that are stored."""

from __future__ import annotations

from rag.index.spec import DescribeSpec
from rag.models.list_output import lines
from rag.text.chunk import Chunk

PROPOSITION = "proposition"


def described(chunk: Chunk, text: str, how: DescribeSpec) -> list[Chunk]:
    """The chunk with what the model wrote; for propositions, these as chunks behind it.

    Args:
        chunk: What was described.
        text: The model's answer.
        how: What was asked for.

    Returns:
        The chunk alone, as it was, if the answer says nothing.
    """
    if how.by == "triples":
        triples = _triples(text, how.most)
        return [chunk.updated(triples=triples) if triples else chunk]
    found = lines(text, how.most if how.by in ("questions", "propositions") else how.tokens)
    if not found:
        return [chunk]
    if how.by == "propositions":
        return _propositions(chunk, found)
    value = found if how.by == "questions" else " ".join(found)
    chunk = chunk.updated(**{how.by: value})
    return [chunk if how.text else chunk.updated(found_by=how.by)]


def _propositions(chunk: Chunk, statements: list[str]) -> list[Chunk]:
    """A chunk and its statements, of which each has the chunk as its nearest parent."""
    start = chunk.start or 0
    end = start + len(chunk.text) if chunk.end is None else chunk.end
    passage = chunk.updated(start=start, end=end, parents=[*chunk.parents, start])
    small = {**passage.metadata, "written_as": PROPOSITION}
    return [passage, *(Chunk(statement, small) for statement in statements)]


def _triples(text: str, most: int) -> list[list[str]]:
    """The lines `subject | relation | object` of an answer."""
    found = []
    for line in lines(text, len(text)):
        parts = [part.strip(" .\"'()") for part in line.split("|")]
        if len(parts) == 3 and all(parts) and parts not in found:
            found.append(parts)
    return found[:most]
