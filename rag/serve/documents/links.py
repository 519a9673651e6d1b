"""Links to documents: a path for whoever may ask, or signed ones that open without a key."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import time
from collections.abc import Callable
from urllib.parse import quote, urlsplit

from rag.serve.errors import Problem
from rag.serve.identity.identity import Identity
from rag.text.chunk import Chunk

WORDS = 8
"""Words that a link names of the passage, for browsers to show it."""
_ID = re.compile("[0-9a-f]{32}")
_MAC = 16


def link_of(chunk: Chunk, pipeline: str | None, passage: str | None = None) -> str | None:
    """Where the document of a passage opens: relative to the server's address, or on the web.

    Args:
        chunk: The passage.
        pipeline: Whose index it is of; None: of none.
        passage: The words of it that count most.

    Returns:
        A path with the page, or the words, as its fragment; None if there is nothing to open.
    """
    if urlsplit(chunk.source).scheme in ("http", "https"):
        return chunk.source
    if pipeline is None or not chunk.source or not _ID.fullmatch(chunk.id or ""):
        return None
    path = f"documents/{chunk.id}/content?pipeline={quote(pipeline, safe='')}"
    if chunk.page is not None:
        return f"{path}#page={quote(str(chunk.page), safe='')}"
    return path + _words(passage or chunk.text)


def _words(passage: str) -> str:
    """The first words of a passage as a text fragment (WICG's URL Fragment Text Directives)."""
    lines = [line.split() for line in passage.splitlines()]
    words = next((line for line in lines if len(line) > 2), [])[:WORDS]
    return f"#:~:text={quote(' '.join(words), safe='').replace('-', '%2D')}" if words else ""


class Links:
    """Signed links to documents. Whoever has one opens the document as the one it was made for.

    Args:
        secret: The server's; what is signed with it cannot be made by others.
        seconds: How long a link opens.
    """

    def __init__(self, secret: Callable[[], bytes], seconds: int) -> None:
        self._secret, self.seconds = secret, seconds

    def sign(self, who: Identity, pipeline: str, document: str) -> str:
        """The token of a link.

        Args:
            who: Whose rights it gives.
            pipeline: As for `Documents.find`.
            document: The same.
        """
        until = int(time.time()) + self.seconds
        rights = [who.user, list(who.collections or ()), sorted(who.groups)]
        text = json.dumps([until, pipeline, document, *rights], separators=(",", ":"))
        return base64.urlsafe_b64encode(self._mac(text) + text.encode()).decode().rstrip("=")

    def read(self, token: str) -> tuple[Identity, str, str]:
        """Whose rights a token gives, the pipeline and the document.

        Raises:
            Problem: 404, the server did not sign it; 410, its time is over.
        """
        try:
            data = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
            text = data[_MAC:].decode()
        except ValueError:  # no base64, or no text
            data, text = b"", ""
        if not hmac.compare_digest(data[:_MAC], self._mac(text)):
            raise Problem(404, "no_link", "this link was not made by this server", fix="ask again")
        until, pipeline, document, user, collections, groups = json.loads(text)
        if until < time.time():
            raise Problem(410, "link_expired", "the time of this link is over", fix="ask again")
        who = Identity(user, tuple(collections), frozenset({"ask"}), frozenset(groups))
        return who, pipeline, document

    def _mac(self, text: str) -> bytes:
        key = hmac.digest(self._secret(), b"links", hashlib.sha256)
        return hmac.digest(key, text.encode(), hashlib.sha256)[:_MAC]
