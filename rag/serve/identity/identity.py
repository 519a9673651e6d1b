"""Identity: who asks, which collections are searched for them, and what they may do."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from rag.errors import ConfigError
from rag.index.binding import SHARED

EVERY_GROUP = "*"
"""As a group: all documents are seen, whatever their `access`."""
May = Literal["ask", "upload", "admin"]
EVERYTHING: frozenset[str] = frozenset(get_args(May))
"""All permissions."""
USUAL: frozenset[str] = frozenset({"ask", "upload"})
"""The permissions of a user of whom nothing else is said."""

Identify = Callable[..., Any]
"""A FastAPI dependency that returns who asks, or raises: an `Identity`, or a value that names a
user, such as a string, a number or a UUID."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks.

    Args:
        user: Owns conversations, runs and uploads; nobody else sees them.
        collections: What is searched, together. `shared` is the pipeline's own index; every other
            name is an index beside it. Uploads go to the last one. None: `shared` and one of the
            user's own.
        may: `ask`; `upload` documents into the last collection, and delete the own ones; `admin`:
            see the metrics of the whole server, upload into `shared`.
        groups: Of documents with `access` in their metadata, those are found that name the user or
            one of these groups there; with the group `*` all.
        requests_per_minute: Questions and uploads of the user; None: the server's setting.
        tokens_per_day: That models may read and write for the user; None: the server's setting.

    Raises:
        ConfigError: The user has no name, there is no collection, or no such permission.
    """

    user: str
    collections: tuple[str, ...] | None = None
    may: frozenset[str] = USUAL
    groups: frozenset[str] = frozenset()
    requests_per_minute: int | None = None
    tokens_per_day: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.user, str) or not self.user:
            raise _wrong(f"the user's name is {self.user!r}", "give a text that is not empty")
        if self.collections is None:
            object.__setattr__(self, "collections", (SHARED, self.user))
        for name in ("collections", "may", "groups"):
            value = getattr(self, name)
            if isinstance(value, str) or not all(isinstance(one, str) and one for one in value):
                raise _wrong(f"{name} is {value!r}", f"give the names as in {name}=['...']")
        object.__setattr__(self, "collections", tuple(dict.fromkeys(self.collections or ())))
        object.__setattr__(self, "may", frozenset(self.may))
        object.__setattr__(self, "groups", frozenset(self.groups))
        if not self.collections:
            raise _wrong(f"{self.user!r} has no collection", f"name one, {SHARED!r} for instance")
        for name in ("requests_per_minute", "tokens_per_day"):
            if (limit := getattr(self, name)) is not None and limit < 1:
                raise _wrong(f"{name} is {limit}", "give at least 1, or None")
        if unknown := self.may - EVERYTHING:
            known = ", ".join(sorted(EVERYTHING))
            raise _wrong(f"there is no permission {min(unknown)!r}", f"there are: {known}")

    @property
    def own(self) -> str:
        """The collection that uploads go to."""
        return (self.collections or (self.user,))[-1]

    def over(self, collections: Iterable[str]) -> Identity:
        """The same user, searching only some of the collections, in the order that they have."""
        wanted = frozenset(collections)
        return replace(self, collections=tuple(c for c in self.collections or () if c in wanted))


def _wrong(what: str, fix: str) -> ConfigError:
    return ConfigError(f"an identity is not valid: {what}", where="Identity", fix=fix)


ANONYMOUS = Identity("anonymous", (SHARED,), frozenset({"ask"}))
"""Whoever asks where nobody says who it is."""


def single_user() -> Identity:
    """The dependency for a server of one user, who may do everything: `rag serve` without keys.

    Whoever reaches the server is that user.
    """
    return Identity("user", (SHARED,), EVERYTHING, frozenset({EVERY_GROUP}))


def identity_of(value: object) -> Identity:
    """What an application's dependency returned, as an identity.

    Args:
        value: An `Identity`; or anything hashable whose text names a user.

    Raises:
        ConfigError: It is neither.
    """
    if isinstance(value, Identity):
        return value
    nameless = type(value).__str__ is object.__str__ and type(value).__repr__ is object.__repr__
    text = "" if nameless or value is None or isinstance(value, bool) else str(value)
    if not text or not isinstance(value, Hashable):
        raise ConfigError(
            f"the application's `identity` returned {value!r}, which names no user",
            where="router(identity=...)",
            fix="return a string, a number, a UUID or rag.serve.Identity, or raise HTTPException",
        )
    return Identity(text)
