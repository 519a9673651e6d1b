"""Tokens (JWT, RFC 7519): whether one is valid, and whose identity it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rag.errors import ConfigError
from rag.extras import require
from rag.serve.identity.identity import EVERY_GROUP, EVERYTHING, USUAL, Identity
from rag.serve.identity.issuer import Issuer

ALGORITHMS = ("RS256", "ES256", "EdDSA")
"""Signatures that are accepted unless a server says otherwise."""
KNOWN = (*ALGORITHMS, "RS384", "RS512", "PS256", "PS384", "PS512", "ES384", "ES512")
"""Signatures that may be accepted: those by a key of which one half is public."""
PERMISSIONS = {name: name for name in sorted(EVERYTHING)}


class TokenError(Exception):
    """A token that is not accepted; the text says why, as far as its sender may know."""


@dataclass(frozen=True)
class Claims:
    """Which claims of a token say who asks.

    A claim is named as it is, or by a path: `realm_access.roles`. It holds a list, or texts with
    spaces between them, as `scope` does.

    Args:
        user: The user's name. It should be one that users cannot choose for themselves, since a
            document's `access` and collections may name users too.
        groups: Groups whose documents the user may see; None: no claim says.
        collections: Names of what is searched; None: `shared` and one of the user's own.
        permissions: What the user may do; None: ask and upload.
        names: Value of that claim to a permission. None: they are `ask`, `upload` and `admin`.

    Raises:
        ConfigError: There is no such permission.
    """

    user: str = "sub"
    groups: str | None = "groups"
    collections: str | None = None
    permissions: str | None = None
    names: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if unknown := {*self.names.values()} - EVERYTHING:
            raise ConfigError(
                f"there is no permission {min(unknown)!r}", where="Claims",
                fix=f"there are: {', '.join(PERMISSIONS)}",
            )  # fmt: skip

    def identity(self, token: Mapping[str, Any]) -> Identity:
        """Who asks.

        Raises:
            TokenError: The token does not name a user, or no collection where it should.
        """
        user = _claim(token, self.user)
        if not isinstance(user, str) or not user:
            raise TokenError(f"the token has no text as {self.user!r}")
        collections = None if self.collections is None else _texts(token, self.collections)
        if collections == ():
            raise TokenError(f"the token has no {self.collections!r}")
        may = USUAL
        if self.permissions is not None:
            given, names = _texts(token, self.permissions), self.names or PERMISSIONS
            may = frozenset(names[one] for one in given if one in names)
        groups = frozenset(_texts(token, self.groups)) if self.groups else frozenset()
        # A group of that name at the issuer is none that sees everything here.
        return Identity(user, collections, may, groups - {EVERY_GROUP})


class Tokens:
    """Checks the tokens of an issuer.

    Args:
        issuer: Who signs them.
        audience: A token must be meant for one of these.
        claims: Which of its claims say who asks.
        algorithms: Signatures that are accepted; none with a shared secret.
        leeway: Seconds by which the issuer's clock may differ.

    Raises:
        ConfigError: There is no audience, or such an algorithm is not accepted.
    """

    def __init__(
        self,
        issuer: Issuer,
        audience: Sequence[str],
        claims: Claims,
        algorithms: Sequence[str] = ALGORITHMS,
        leeway: float = 30.0,
    ) -> None:
        require("jwt", "oidc", where="oidc")
        self._issuer, self._claims, self._leeway = issuer, claims, leeway
        self._audience, self._algorithms = list(audience), list(algorithms)
        if not self._audience:
            raise ConfigError(
                "tokens that were made for another application would be accepted",
                where="oidc", fix="name the audience that the issuer writes into tokens",
            )  # fmt: skip
        for name in self._algorithms:
            if name not in KNOWN:
                raise ConfigError(
                    f"{name!r} is no signature with a public key that is accepted",
                    where="oidc", fix=f"name some of {', '.join(KNOWN)}",
                )  # fmt: skip

    def identity(self, token: str) -> Identity:
        """Whose token it is.

        Raises:
            TokenError: It is not valid.
            Problem: 503, the issuer cannot be reached.
        """
        import jwt

        try:
            header = jwt.get_unverified_header(token)
            algorithm = header.get("alg")
            if algorithm not in self._algorithms:
                raise TokenError("the token is signed in a way that is not accepted")
            key = self._issuer.key(header.get("kid"), algorithm)
            if key is None:
                raise TokenError("the token is signed with a key that the issuer does not have")
            found = jwt.decode(
                token, key, algorithms=[algorithm], audience=self._audience,
                issuer=self._issuer.url, leeway=self._leeway,
                options={"require": ["exp", "iss", "aud"]},
            )  # fmt: skip
        except jwt.ExpiredSignatureError as error:
            raise TokenError("the token has expired") from error
        except jwt.InvalidAudienceError as error:
            raise TokenError("the token is not meant for this server (aud)") from error
        except jwt.InvalidIssuerError as error:
            raise TokenError("the token is of another issuer (iss)") from error
        except jwt.PyJWTError as error:
            raise TokenError("the token is not valid") from error
        return self._claims.identity(found)


def _claim(token: Mapping[str, Any], name: str) -> Any:
    """The value of a claim, by its name or path; None where there is none."""
    if name in token:
        return token[name]
    found: Any = token
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _texts(token: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """The texts that a claim lists; what is no text in it is passed over."""
    value = _claim(token, name)
    among = value.split() if isinstance(value, str) else value if isinstance(value, list) else ()
    return tuple(one for one in among if isinstance(one, str) and one)
