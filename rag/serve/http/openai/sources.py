"""The sources of answers as clients of OpenAI's API show them, with addresses that open."""

import re
from typing import Any

from rag.serve.answer import AnswerSource
from rag.serve.http.addresses import Address

_MARK = re.compile(r"\[(\d{1,3})\]")


def citations(text: str, sources: list[AnswerSource], address: Address) -> list[dict[str, Any]]:
    """One for each mark `[n]` in the text that names a source."""
    known = {source.number: source for source in sources}
    found = []
    for mark in _MARK.finditer(text):
        source = known.get(int(mark.group(1)))
        if source is not None:
            cited = {
                "start_index": mark.start(),
                "end_index": mark.end(),
                "title": source.title or source.place,
                "url": address(source),
                "quote": source.quote,
            }
            found.append(cited)
    return found


def source_event(source: AnswerSource, address: Address) -> dict[str, Any]:
    """A source as Open WebUI shows it: the passage, and what it is of."""
    url, name = address(source), source.title or source.place
    about = {"source": url, "name": name, "place": source.place}
    data = {"source": {"name": name, "url": url}, "document": [source.text], "metadata": [about]}
    return {"type": "source", "data": data}


def listed(text: str, sources: list[AnswerSource], address: Address) -> str:
    """The sources that a text names, to be put below it; "": it names none."""
    marks = {int(number) for number in _MARK.findall(text)}
    lines = [
        f"- [{one.number}] {one.place}" + ("" if one.link is None else f": {address(one)}")
        for one in sources
        if one.number in marks
    ]
    return "\n\nSources:\n" + "\n".join(lines) if lines else ""


def rest_of(sent: str, answer: str) -> str:
    """What is still to be sent of the answer: all of it, or the marks that `cite` put into it.

    What was sent cannot be taken back, so the marks come at the end.
    """
    if not sent:
        return answer
    marks = list(dict.fromkeys(_MARK.findall(answer)))
    new = [number for number in marks if f"[{number}]" not in sent]
    return f" {''.join(f'[{number}]' for number in new)}" if new else ""
