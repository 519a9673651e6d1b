"""Which index in Qdrant is meant: a server or a folder, and a collection in it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self
from urllib.parse import parse_qsl, urlsplit

from rag.errors import ConfigError

PORT = 6333
FILES = "qdrant+file"

_NAME = re.compile(r"[A-Za-z0-9_.-]+")


@dataclass(frozen=True)
class Location:
    """A collection.

    Attributes:
        url: Of the server, `http://host:6333`; "": a folder.
        folder: Where the client itself stores everything, without a server.
        collection: Letters, digits, `_`, `.` and `-`.
        secure: Whether the server is reached by HTTPS.
    """

    url: str
    folder: Path | None
    collection: str

    @classmethod
    def of(cls, text: str, base: Path) -> Self:
        """The collection that a text says.

        Args:
            text: `qdrant://host:port/collection`, `qdrant+https://...`, or
                `qdrant+file://folder/collection` for a folder without a server.
            base: The folder that a relative one starts from.

        Raises:
            ConfigError: It is of another form.
        """
        scheme, _, rest = text.partition("://")
        place, _, collection = rest.rstrip("/").rpartition("/")
        if not place or not _NAME.fullmatch(collection):
            raise ConfigError(
                f"{_without_key(text)} names no collection",
                where="index",
                fix="write qdrant://host:6333/name; names have letters, digits, _, . and -",
            )
        if scheme == FILES:
            return cls("", base / Path(place).expanduser(), collection)
        if "@" in place or parse_qsl(urlsplit(text).query):
            raise ConfigError(
                "an address in Qdrant holds no key", where="index", fix="set QDRANT_API_KEY"
            )
        address = urlsplit(f"//{place}")
        protocol = "https" if scheme.endswith("https") else "http"
        port = "" if address.port else f":{PORT}"
        return cls(f"{protocol}://{place}{port}", None, collection)

    def __str__(self) -> str:
        if self.folder is not None:
            return f"{FILES}://{self.folder}/{self.collection}"
        protocol, _, place = self.url.partition("://")
        return f"{'qdrant+https' if protocol == 'https' else 'qdrant'}://{place}/{self.collection}"

    @property
    def key(self) -> str:
        """The same for the same index, wherever it is opened from."""
        here = self.folder and replace(self, folder=self.folder.resolve())
        return str(here or self)

    @property
    def sources(self) -> str:
        """The collection that says which sources there are."""
        return f"{self.collection}.sources"


def _without_key(text: str) -> str:
    return re.sub(r"//[^/@]*@", "//", text.split("?", maxsplit=1)[0])
