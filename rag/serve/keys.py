"""API keys: a file of hashes, each with the tenant that its key speaks for."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
import threading
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from rag.errors import ConfigError, InputError
from rag.files import write_atomically

TENANT = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_KEY = re.compile(r"rag_([0-9a-f]{8})_([A-Za-z0-9_-]{43})")


class KeyRecord(BaseModel):
    """The record of a key, without the key itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    tenant: str
    sha256: str
    """Of the whole key. It has 256 random bits, so a slow hash would protect nothing more."""
    created: str


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

    def add(self, tenant: str) -> str:
        """Make a key for a tenant; returns the key, which cannot be had a second time.

        Raises:
            InputError: The tenant's name would not do as a folder's.
        """
        if not TENANT.fullmatch(tenant):
            raise InputError(
                f"{tenant!r} cannot name a tenant",
                fix="take small letters, digits, - and _, at most 63",
            )
        name, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
        key = f"rag_{name}_{secret}"
        created = datetime.now(UTC).isoformat(timespec="seconds")
        record = KeyRecord(id=name, tenant=tenant, sha256=_digest(key), created=created)
        kept = self.records() if self.path.exists() else []
        self._write([*kept, record])
        return key

    def revoke(self, name: str) -> None:
        """Delete a key.

        Raises:
            InputError: There is none with this id.
        """
        kept = [record for record in self.records() if record.id != name]
        if len(kept) == len(self.records()):
            raise InputError(f"there is no key {name!r}", where=str(self.path), fix="list them")
        self._write(kept)

    def tenant(self, key: str) -> str | None:
        """Whose key it is; None if nobody's. Takes as long whether or not the id is known."""
        match = _KEY.fullmatch(key)
        record = self._current().get(match.group(1)) if match else None
        kept = record.sha256 if record else "0" * 64
        same = hmac.compare_digest(_digest(key), kept)
        return record.tenant if record and same else None

    def _write(self, records: list[KeyRecord]) -> None:
        listed = [record.model_dump() for record in records]
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
                fix = f"rag keys add TENANT --keys {self.path}"
                raise ConfigError("there are no keys", where=str(self.path), fix=fix) from None
            except (OSError, ValidationError) as error:
                what = "is no file of keys"
                raise ConfigError(what, where=str(self.path), fix="rag keys add makes one") from (
                    error
                )
            return self._records


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
