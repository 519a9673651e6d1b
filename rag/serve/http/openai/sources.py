"""The sources of answers as clients of OpenAI's API show them, with addresses that open."""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlsplit

from starlette.requests import Request

from rag.serve.answer import AnswerSource
from rag.serve.documents.links import Links
from rag.serve.identity.identity import ANONYMOUS, Identity, single_user

Address = Callable[[AnswerSource], str]
"""Where a source opens in a browser."""

_MARK = re.compile(r"\[(\d{1,3})\]")
_OWN_KEYS = ("authorization", "x-api-key")


def addresses(
    request: Request, who: Identity, pipeline: str, links: Links, public_url: str | None
) -> Address:
    """Where the sources of an answer open.

    A client that sends a key could not give it to a browser, so its links are signed.

    Args:
        request: An endpoint's below `/v1`.
        who: Asks.
        pipeline: Answers.
        links: Signs.
        public_url: Where browsers reach the endpoints; None: at the address of the request.
    """
    prefix = request.url.path.rpartition("/v1/")[0]
    base = (public_url or f"{request.url.scheme}://{request.url.netloc}{prefix}").rstrip("/")
    has_key = any(name in request.headers for name in _OWN_KEYS)
    signs = has_key and links.seconds > 0 and who not in (ANONYMOUS, single_user())

    def address(source: AnswerSource) -> str:
        if source.link is None:
            return f"document:{quote(source.place)}"
        if urlsplit(source.link).scheme:
            return source.link
        path, mark, fragment = source.link.partition("#")
        if signs and source.id is not None:
            path = f"links/{links.sign(who, pipeline, source.id)}"
        return f"{base}/{path}{mark}{fragment}"

    return address


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
