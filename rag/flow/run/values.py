"""What a step read, wrote, sent to models and reused, as lines of text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rag.plain import plain

DOCUMENTS = 20
"""Documents of a ranking that are shown."""


def details(one: Any) -> Iterator[str]:
    """All that is known of an `Occurrence` but its place and time, a line each.

    A list of documents is a line for each: its number, score, place, and the scores of earlier
    steps. Behind what was written are the documents that were read and not written.
    """
    for name, value in one.inputs.items():
        yield from _named(f"{name} = ", value)
    for call in one.calls:
        yield from _called(call)
    for name, data in one.events:
        yield f"{name}: {shortened(data)}"
    for name, value in (one.writes or {}).items():
        yield from _named(f"-> {name} = ", value)
    yield from _left_out(one)
    for warning in one.warnings:
        yield f"warning: {warning}"
    if one.error:
        yield f"error: {one.error}"


def _named(begins: str, value: Any) -> Iterator[str]:
    if isinstance(value, list | tuple) and value and all(map(_is_ranking, value)):
        yield f"{begins}[{', '.join(map(_counted, value))}]"
        return
    if not _is_ranking(value):
        yield begins + shortened(value)
        return
    yield f"{begins}{_counted(value)}"
    for number, document in enumerate(value[:DOCUMENTS], start=1):
        yield f"  {number:3} {_ranked(document)}"
    if len(value) > DOCUMENTS:
        yield f"  ... and {len(value) - DOCUMENTS} more"


def _left_out(one: Any) -> Iterator[str]:
    """The documents that a step read and did not write, where it writes documents."""
    read = [each for value in one.inputs.values() if _is_ranking(value) for each in value]
    rankings = [value for value in (one.writes or {}).values() if _is_ranking(value)]
    if not rankings:
        return
    kept = {_identity(document) for ranking in rankings for document in ranking}
    dropped = {_identity(each): each for each in read if _identity(each) not in kept}
    if dropped:
        yield f"left out: {_counted(dropped)}"
        for document in list(dropped.values())[:DOCUMENTS]:
            yield f"      {_ranked(document)}"


def _called(call: Any) -> Iterator[str]:
    for message in call.prompt:
        yield f"[{message.get('role')}] {message.get('content')}"
    yield (
        f"{call.model} ({call.prompt_tokens} + {call.completion_tokens} tokens, "
        f"{call.seconds:.3f} s):"
    )
    yield call.output
    if call.reuse:
        yield from _reused(call.reuse)


def _reused(reuse: Mapping[str, Any]) -> Iterator[str]:
    """What of a prompt's stored states was used: a line, and one for each chunk."""
    chunks = reuse.get("chunks") or []
    of = sum(int(chunk.get("tokens", 0)) for chunk in chunks)
    yield f"reuse: {reuse.get('mode')}, {reuse.get('reused', 0)} of {of} tokens of chunks"
    for number, chunk in enumerate(chunks, start=1):
        known = ", ".join(f"{name} {shortened(value, 60)}" for name, value in chunk.items())
        yield f"  {number:3} {known}"
    spent = ", ".join(f"{k} {v:.1f} ms" for k, v in (reuse.get("milliseconds") or {}).items())
    if spent:
        yield f"  {spent}"


def _ranked(document: Any) -> str:
    from rag.text.location import location

    metadata = document.metadata
    score = metadata.get("score")
    scores = metadata.get("scores")
    by = ", ".join(f"{name} {_number(each)}" for name, each in dict(scores or {}).items())
    return f"{_number(score):>8}  {location(document)}" + (f"  ({by})" if by else "")


def _number(score: Any) -> str:
    return f"{score:.3f}" if isinstance(score, int | float) else "-"


def _counted(documents: Sequence[Any] | Mapping[str, Any]) -> str:
    return f"{len(documents)} document{'s' if len(documents) != 1 else ''}"


def _identity(document: Any) -> str:
    return str(document.id or document.page_content)


def _is_ranking(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(map(_is_document, value))


def _is_document(value: Any) -> bool:
    return hasattr(value, "page_content") and hasattr(value, "metadata")


def shortened(value: Any, length: int = 300) -> str:
    """A value as one line of JSON, cut in the middle."""
    text = json.dumps(plain(value), ensure_ascii=False)
    return text if len(text) <= length else f"{text[: length - 20]} ... {text[-14:]}"
