"""Where the sources of answers open: addresses for clients that show them in a browser."""

from collections.abc import Callable
from urllib.parse import quote, urlsplit

from starlette.requests import Request

from rag.serve.answer import AnswerSource
from rag.serve.documents.links import Links
from rag.serve.identity.identity import ANONYMOUS, Identity, single_user

Address = Callable[[AnswerSource], str]
"""Where a source opens in a browser."""

_OWN_KEYS = ("authorization", "x-api-key")


def addresses(
    request: Request,
    at: str,
    who: Identity,
    pipeline: str,
    links: Links,
    public_url: str | None,
) -> Address:
    """Where the sources of an answer open.

    A client that sends a key could not give it to a browser, so its links are signed.

    Args:
        request: An endpoint's.
        at: What of its path is the endpoint's own: what stands before that is where the endpoints
            are mounted.
        who: Asks.
        pipeline: Answers.
        links: Signs.
        public_url: Where browsers reach the endpoints; None: at the address of the request.
    """
    prefix = request.url.path.rpartition(at)[0]
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
