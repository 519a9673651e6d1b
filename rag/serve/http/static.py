"""Static files of the package as answers: from memory, compressed, only if they have changed."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
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
    _content: dict[str, bytes] = field(default_factory=dict)
    _tag: str = ""

    def answer(self, request: Request, headers: Mapping[str, str]) -> Response:
        """The file, or 304 to whoever has it.

        Args:
            request: Says what it has (`If-None-Match`), and whether it takes gzip.
            headers: Further headers of the answer.
        """
        whole = self._whole()
        zipped = len(whole) <= SMALL and "gzip" in request.headers.get("accept-encoding", "")
        tag = f'"{self._tag}-gzip"' if zipped else f'"{self._tag}"'
        about = {**headers, "ETag": tag, "Vary": "Accept-Encoding"}
        if tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=about)
        if zipped:
            about["Content-Encoding"] = "gzip"
        return Response(
            self._zipped(whole) if zipped else whole, headers=about, media_type=self.kind
        )

    def _whole(self) -> bytes:
        if "" not in self._content:
            self._content[""] = self.path.read_bytes()
            self._tag = hashlib.sha256(self._content[""]).hexdigest()[:24]
        return self._content[""]

    def _zipped(self, whole: bytes) -> bytes:
        if "gzip" not in self._content:
            self._content["gzip"] = gzip.compress(whole, mtime=0)
        return self._content["gzip"]
