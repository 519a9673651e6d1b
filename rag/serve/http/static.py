"""Static files of the package as answers: from memory, compressed, only if they have changed."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

SMALL = 2**18
"""Bytes of a file that is compressed while its first reader waits; that takes milliseconds."""


@dataclass
class StaticFile:
    """A file, as it was when it was first asked for.

    Args:
        path: Where it is.
        kind: Its media type.
    """

    path: Path
    kind: str

    def answer(self, request: Request, headers: Mapping[str, str]) -> Response:
        """The file, or 304 to whoever has it.

        Args:
            request: Says what it has (`If-None-Match`), and whether it takes gzip.
            headers: Further headers of the answer.
        """
        accepts = "gzip" in request.headers.get("accept-encoding", "")
        zipped = accepts and len(self._content) <= SMALL
        tag = f'"{self._digest}-gzip"' if zipped else f'"{self._digest}"'
        about = {**headers, "ETag": tag, "Vary": "Accept-Encoding"}
        if tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=about)
        if zipped:
            about["Content-Encoding"] = "gzip"
        content = self._zipped if zipped else self._content
        return Response(content, headers=about, media_type=self.kind)

    @cached_property
    def _content(self) -> bytes:
        return self.path.read_bytes()

    @cached_property
    def _digest(self) -> str:
        return hashlib.sha256(self._content).hexdigest()[:24]

    @cached_property
    def _zipped(self) -> bytes:
        return gzip.compress(self._content, mtime=0)
