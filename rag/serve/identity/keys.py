"""API keys: a file of hashes, each with the identity that its key speaks for."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict, PositiveInt, TypeAdapter, ValidationError

from rag.errors import ConfigError, InputError
from rag.files import write_atomically
from rag.index.binding import PLAIN
from rag.serve.identity.identity import Identity

_KEY = re.compile(r"rag_([0-9a-f]{8})_([A-Za-z0-9_-]{43})")


class KeyRecord(BaseModel):
    """The record of a key, without the key itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    user: str
    collections: tuple[str, ...] | None = None
    """None: `shared` and the user's own."""
    may: tuple[str, ...] = ("ask", "upload")
    groups: tuple[str, ...] = ()
    sha256: str
    """Of the whole key. It has 256 random bits, so a slow hash would protect nothing more."""
    created: AwareDatetime
    expires: AwareDatetime | None = None
    requests_per_minute: PositiveInt | None = None
    tokens_per_day: PositiveInt | None = None

    @property
    def identity(self) -> Identity:
        """Who the key's holder is."""
        return Identity(
            self.user,
            self.collections,
            frozenset(self.may),
            frozenset(self.groups),
            self.requests_per_minute,
            self.tokens_per_day,
        )


_RECORDS = TypeAdapter(list[KeyRecord])


class KeyFile:
    """The keys that a server accepts. A change of the file takes effect at once.

    Args:
        path: A JSON file, made by `add`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._seen: tuple[int, int] | None = None
        self._records: dict[str, KeyRecord] = {}

    def records(self) -> list[KeyRecord]:
        """All keys.

        Raises:
            ConfigError: The file is missing, or is no file of keys.
        """
        return list(self._current().values())

    def add(
        self,
        user: str,
        *,
        collections: Sequence[str] | None = None,
        may: Sequence[str] = ("ask", "upload"),
        groups: Sequence[str] = (),
        expires: datetime | None = None,
        requests_per_minute: int | None = None,
        tokens_per_day: int | None = None,
    ) -> str:
        """Make a key; returns it, and it cannot be had a second time.

        Args:
            user: Whose it is.
            collections: See `Identity`.
            may: See `Identity`.
            groups: See `Identity`.
            expires: When it ends, with a time zone; None: never.
            requests_per_minute: Questions and uploads with it; None: no limit of its own.
            tokens_per_day: Tokens that models may read and write for it; None: no limit.

        Raises:
            InputError: A name would not do as a folder's, a permission does not exist, or a limit
                is not positive.
        """
        for name in (user, *(collections or ())):
            if not PLAIN.fullmatch(name):
                raise InputError(
                    f"{name!r} cannot name a user or a collection",
                    fix="take small letters, digits, - and _, at most 63",
                )
        name, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
        key = f"rag_{name}_{secret}"
        try:
            record = KeyRecord(
                id=name,
                user=user,
                collections=tuple(collections) if collections else None,
                may=tuple(may),
                groups=tuple(groups),
                sha256=_digest(key),
                created=datetime.now(UTC).replace(microsecond=0),
                expires=expires,
                requests_per_minute=requests_per_minute,
                tokens_per_day=tokens_per_day,
            )
            _ = record.identity
        except ConfigError as error:
            raise InputError(error.what, fix=error.fix) from error
        except ValidationError as error:
            (first, *_) = error.errors()
            raise InputError(f"{first['loc'][0]}: {first['msg']}", fix="change it") from error
        older = self.records() if self.path.exists() else []
        self._write([*older, record])
        return key

    def revoke(self, name: str) -> KeyRecord:
        """Delete a key; returns its record.

        Raises:
            InputError: There is none with this id.
        """
        known = {record.id: record for record in self.records()}
        revoked = known.pop(name, None)
        if revoked is None:
            raise InputError(f"there is no key {name!r}", where=str(self.path), fix="list them")
        self._write([*known.values()])
        return revoked

    def find(self, key: str) -> KeyRecord | None:
        """The record of a key that is valid now. Takes as long whether or not the id is known.

        Raises:
            ConfigError: As `records`.
        """
        match = _KEY.fullmatch(key)
        record = self._current().get(match.group(1)) if match else None
        digest = record.sha256 if record else "0" * 64
        if not hmac.compare_digest(_digest(key), digest) or record is None:
            return None
        expired = record.expires is not None and record.expires <= datetime.now(UTC)
        return None if expired else record

    def _write(self, records: list[KeyRecord]) -> None:
        listed = [record.model_dump(mode="json") for record in records]
        write_atomically(self.path, json.dumps(listed, indent=2) + "\n", private=True)

    def _current(self) -> dict[str, KeyRecord]:
        with self._lock:
            try:
                about = self.path.stat()
                seen = (about.st_mtime_ns, about.st_ino)
                if seen != self._seen:
                    found = _RECORDS.validate_json(self.path.read_bytes())
                    self._records = {record.id: record for record in found}
                    self._seen = seen
            except FileNotFoundError:
                fix = f"rag keys add USER --keys {self.path}"
                raise ConfigError("there are no keys", where=str(self.path), fix=fix) from None
            except (OSError, ValidationError) as error:
                what = "is no file of keys"
                raise ConfigError(what, where=str(self.path), fix="rag keys add makes one") from (
                    error
                )
            return self._records


def is_key(text: str) -> bool:
    """Whether a text has the form of a key."""
    return _KEY.fullmatch(text) is not None


def id_of(key: str) -> str:
    """The id of a key, which is no secret."""
    return key.split("_")[1]


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
