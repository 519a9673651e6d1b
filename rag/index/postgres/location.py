"""Which index in PostgreSQL is meant: a server, a database, and a collection in it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from rag.errors import ConfigError

COLLECTION = "index"
LONGEST = 63
"""Bytes of a name in PostgreSQL."""

_NAME = re.compile(r"[A-Za-z0-9_.-]+")


@dataclass(frozen=True, repr=False)
class Location:
    """`postgresql://user:password@host/database?collection=name`; as text without the password.

    Further parameters are libpq's, and so are the places where a password may be instead of in the
    address: `~/.pgpass` and PGPASSWORD.

    Attributes:
        url: For libpq, without the collection.
        collection: Letters, digits, `_`, `.` and `-`.
    """

    url: str
    collection: str = COLLECTION

    @classmethod
    def of(cls, text: str) -> Self:
        """The address that a text says.

        Raises:
            ConfigError: It names no database, or its collection has other characters.
        """
        parts = urlsplit(text)
        fields = dict(parse_qsl(parts.query))
        collection = fields.pop("collection", COLLECTION)
        if not parts.path.strip("/") and "dbname" not in fields:
            raise ConfigError(
                "the address names no database",
                where="index",
                fix="write postgresql://user@host/database?collection=name",
            )
        if not _NAME.fullmatch(collection):
            raise ConfigError(
                f"{collection!r} is no name of a collection",
                where="index",
                fix="use letters, digits, _, . and -",
            )
        url = urlunsplit(("postgresql", parts.netloc, parts.path, urlencode(fields), ""))
        return cls(url, collection)

    def __str__(self) -> str:
        parts = urlsplit(self.url)
        user, _, host = parts.netloc.rpartition("@")
        place = f"{user.split(':', maxsplit=1)[0]}@{host}" if user else host
        shown = [(name, value) for name, value in parse_qsl(parts.query) if name != "password"]
        if self.collection != COLLECTION:
            shown.append(("collection", self.collection))
        return urlunsplit((parts.scheme, place, parts.path, urlencode(shown, safe="/"), ""))

    __repr__ = __str__

    @property
    def key(self) -> str:
        """The same for the same index, wherever it is opened from."""
        return str(self)

    @property
    def schema(self) -> str:
        """The schema that holds the collection's tables."""
        name = f"rag_{self.collection}"
        if len(name) <= LONGEST:
            return name
        return f"{name[:30]}_{hashlib.sha256(name.encode()).hexdigest()[:32]}"
