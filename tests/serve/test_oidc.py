"""Tokens of an issuer: a real one over HTTP, whose keys and answers a test changes."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from starlette.requests import Request

from rag.errors import ConfigError
from rag.serve import Claims, Identity, Settings, app, oidc
from rag.serve.errors import Problem
from rag.serve.http.authentication import by_keys
from rag.serve.identity.issuer import FRESH, PAUSE, STALE, Issuer
from rag.serve.identity.keys import KeyFile
from rag.serve.identity.tokens import TokenError, Tokens
from rag.serve.settings.settings import ServeSettings
from tests.http_server import LocalServer
from tests.serve.conftest import running, toy

RSA = [rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2)]
EC = ec.generate_private_key(ec.SECP256R1())
SECRET = base64.urlsafe_b64encode(b"s" * 32).decode().rstrip("=")


def jwk(key: Any, kid: str, **about: str) -> dict[str, Any]:
    kind = jwt.algorithms.RSAAlgorithm if key in RSA else jwt.algorithms.ECAlgorithm
    return {**kind.to_jwk(key.public_key(), as_dict=True), "kid": kid, "use": "sig", **about}


class IssuerServer:
    """An issuer on a port of its own."""

    def __init__(self) -> None:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked.append(self.path)
                body = server.answers.get(self.path)
                self.send_response(200 if body is not None else 302)
                self.send_header("Location", f"{server.url}/elsewhere")
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def log_message(self, *_: Any) -> None:
                pass

        self._server = LocalServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/realms/acme"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.reset()

    def reset(self) -> None:
        self.asked: list[str] = []
        about = {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
        self.answers: dict[str, Any] = {
            "/realms/acme/.well-known/openid-configuration": about,
            "/realms/acme/elsewhere": {"keys": [jwk(RSA[0], "first")]},
        }
        self.keys = [jwk(RSA[0], "first", alg="RS256"), jwk(EC, "curve")]

    @property
    def keys(self) -> list[Any]:
        found: list[Any] = self.answers["/realms/acme/keys"]["keys"]
        return found

    @keys.setter
    def keys(self, keys: list[Any]) -> None:
        self.answers["/realms/acme/keys"] = {"keys": keys}

    def leave(self) -> None:
        self.answers = {}

    def token(self, key: Any = RSA[0], kid: str | None = "first", **changed: Any) -> str:
        algorithm = changed.pop("algorithm", "ES256" if key is EC else "RS256")
        claims = {"iss": self.url, "aud": "rag", "sub": "ann", "exp": time.time() + 600}
        claims = {name: value for name, value in {**claims, **changed}.items() if value is not None}
        return jwt.encode(claims, key, algorithm, headers={"kid": kid} if kid else {})

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def served() -> Iterator[IssuerServer]:
    server = IssuerServer()
    yield server
    server.close()


@pytest.fixture
def issuer(served: IssuerServer) -> IssuerServer:
    served.reset()
    return served


class Clock:
    """Seconds that a test lets pass."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tokens(issuer: IssuerServer, clock: Clock) -> Tokens:
    return Tokens(Issuer(issuer.url, clock), ["rag"], Claims())


def test_valid_tokens(issuer: IssuerServer, tokens: Tokens) -> None:
    for token in (
        issuer.token(groups=["hr", 7]),
        issuer.token(EC, "curve", groups=["hr"], aud=["other", "rag"]),
        issuer.token(kid=None, groups="hr"),  # there is one key that it can be
        issuer.token(groups=["hr", "*"], exp=time.time() - 10),  # within the leeway
    ):
        assert tokens.identity(token) == Identity("ann", groups=frozenset({"hr"}))
    assert len(issuer.asked) == 2


def forged(token: str, **header: Any) -> str:
    """The token with another header, its signature as it was."""
    _, claims, signature = token.split(".")
    changed = base64.urlsafe_b64encode(json.dumps(header).encode()).decode().rstrip("=")
    return f"{changed}.{claims}.{signature}"


Make = Callable[[IssuerServer], str]
PUBLIC = RSA[0].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def by_public_key(issuer: IssuerServer) -> str:
    """Signed with the public key as if it were a shared secret."""
    import hashlib
    import hmac

    def encoded(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).decode().rstrip("=")

    header = encoded(json.dumps({"alg": "HS256", "kid": "first"}).encode())
    body = f"{header}.{issuer.token().split('.')[1]}"
    return f"{body}.{encoded(hmac.digest(PUBLIC, body.encode(), hashlib.sha256))}"


WRONG: list[tuple[Make, str]] = [
    (lambda at: at.token(iss="https://evil.example"), "another issuer"),
    (lambda at: at.token(aud="other"), "not meant for this server"),
    (lambda at: at.token(aud=None), "not valid"),
    (lambda at: at.token(exp=time.time() - 120), "expired"),
    (lambda at: at.token(exp=None), "not valid"),
    (lambda at: at.token(nbf=time.time() + 120), "not valid"),
    (lambda at: at.token(sub=None), "no text as 'sub'"),
    (lambda at: at.token(RSA[1]), "not valid"),  # signed by somebody else
    (lambda at: at.token(kid="third"), "does not have"),
    (lambda at: at.token(kid="curve"), "does not have"),  # a key of another kind
    (lambda at: at.token(algorithm="RS512"), "not accepted"),
    (lambda at: forged(at.token(), alg="none", kid="first"), "not accepted"),
    (lambda at: jwt.encode({"sub": "ann"}, "", "none"), "not accepted"),
    (by_public_key, "not accepted"),
    (lambda at: forged(at.token(), alg="ES256", kid="first"), "does not have"),
    (lambda at: forged(at.token(), alg="RS256", kid=["first"]), "not valid"),
    (lambda _: "no token", "not valid"),
    (lambda at: at.token() + "x", "not valid"),
]


@pytest.mark.parametrize(("make", "why"), WRONG)
def test_tokens_that_are_not_accepted(
    issuer: IssuerServer, tokens: Tokens, make: Make, why: str
) -> None:
    tokens.identity(issuer.token())
    with pytest.raises(TokenError, match=why):
        tokens.identity(make(issuer))


@pytest.mark.parametrize(
    "key",
    [
        {"kty": "oct", "kid": "shared", "k": SECRET, "alg": "RS256"},
        {"kty": "oct", "kid": "shared", "k": SECRET},
        {**jwk(RSA[1], "shared"), "use": "enc"},
        {**jwk(RSA[1], "shared"), "alg": "RS512"},
        {"kty": "RSA", "kid": "shared", "n": "AQAB", "e": "no number"},
    ],
)
def test_keys_that_sign_no_tokens(issuer: IssuerServer, tokens: Tokens, key: Any) -> None:
    """Also one that the issuer publishes by mistake, with which anybody could sign."""
    issuer.keys = [*issuer.keys, key]
    token = issuer.token(RSA[1], "shared")
    if key["kty"] == "oct":
        token = forged(
            issuer.token(b"s" * 32, "shared", algorithm="HS256"), alg="RS256", kid="shared"
        )
    with pytest.raises(TokenError):
        tokens.identity(token)
    assert tokens.identity(issuer.token()).user == "ann"


def test_a_key_that_is_new(issuer: IssuerServer, tokens: Tokens, clock: Clock) -> None:
    """It is fetched with the first token that names it, but not with every one that names any."""
    tokens.identity(issuer.token())
    issuer.keys = [jwk(RSA[1], "second")]
    clock.seconds = PAUSE + 1
    assert tokens.identity(issuer.token(RSA[1], "second")).user == "ann"
    asked = len(issuer.asked)
    for number in range(5):
        with pytest.raises(TokenError, match="does not have"):
            tokens.identity(issuer.token(RSA[0], f"key {number}"))
    assert len(issuer.asked) == asked
    with pytest.raises(TokenError, match="does not have"):  # it was withdrawn
        tokens.identity(issuer.token())
    issuer.keys = [jwk(EC, "third")]
    clock.seconds += FRESH + 1
    with pytest.raises(TokenError, match="does not have"):
        tokens.identity(issuer.token(RSA[1], "second"))


def test_an_issuer_that_is_away(issuer: IssuerServer, tokens: Tokens, clock: Clock) -> None:
    answers = issuer.answers
    issuer.leave()
    for _ in range(3):
        with pytest.raises(Problem) as refused:
            tokens.identity(issuer.token())
    assert (refused.value.status, refused.value.headers["Retry-After"]) == (503, "30")
    assert len(issuer.asked) == 1
    issuer.answers = answers
    clock.seconds = PAUSE + 1
    assert tokens.identity(issuer.token()).user == "ann"
    issuer.leave()
    clock.seconds += STALE  # its keys count for a while
    assert tokens.identity(issuer.token()).user == "ann"
    clock.seconds += 2
    with pytest.raises(Problem):
        tokens.identity(issuer.token())


@pytest.mark.parametrize(
    "about",
    [
        {"issuer": "https://evil.example"},
        {"jwks_uri": "http://evil.example/keys"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": "REDIRECTED"},
        {"jwks_uri": None},
    ],
)
def test_discovery_that_leads_elsewhere(
    issuer: IssuerServer, tokens: Tokens, about: dict[str, Any]
) -> None:
    found = issuer.answers["/realms/acme/.well-known/openid-configuration"]
    if about.get("jwks_uri") == "REDIRECTED":
        about = {"jwks_uri": f"{issuer.url}/nowhere"}
    found.update(about)
    with pytest.raises(Problem):
        tokens.identity(issuer.token())


TOKEN = {
    "sub": "auth0|7", "email": "ann@acme.example", "realm_access": {"roles": ["hr", "editors"]},
    "https://rag.example/collections": ["shared", "north"], "scope": "openid ask admin",
}  # fmt: skip


@pytest.mark.parametrize(
    ("claims", "identity"),
    [
        (Claims(), Identity("auth0|7")),
        (Claims(user="email", groups=None), Identity("ann@acme.example")),
        (
            Claims(groups="realm_access.roles", permissions="scope"),
            Identity("auth0|7", None, frozenset({"ask", "admin"}), frozenset({"hr", "editors"})),
        ),
        (
            Claims(
                collections="https://rag.example/collections",
                permissions="realm_access.roles",
                names={"editors": "upload"},
            ),
            Identity("auth0|7", ("shared", "north"), frozenset({"upload"})),
        ),
        (Claims(permissions="roles"), Identity("auth0|7", None, frozenset())),
    ],
)
def test_which_claims_say_who_asks(claims: Claims, identity: Identity) -> None:
    assert claims.identity(TOKEN) == identity


def test_a_token_without_the_claims_that_a_server_needs() -> None:
    for wrong in (Claims(user="realm_access"), Claims(user="scope.x"), Claims(collections="none")):
        with pytest.raises(TokenError):
            wrong.identity(TOKEN)


def test_settings_that_would_not_be_safe(issuer: IssuerServer) -> None:
    for url, audience, options in (
        ("http://login.example", "rag", {}),
        (issuer.url, [], {}),
        (issuer.url, "rag", {"algorithms": ["HS256"]}),
        (issuer.url, "rag", {"algorithms": ["none"]}),
    ):
        with pytest.raises(ConfigError):
            oidc(url, audience, **options)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="no permission"):
        Claims(permissions="roles", names={"editors": "fly"})
    oidc("http://keycloak:8080/realms/acme", "rag")


def test_over_http(issuer: IssuerServer, tmp_path: Path) -> None:
    key = KeyFile(tmp_path / "keys.json").add("bot", may=["ask"])
    tokens = Tokens(Issuer(issuer.url), ["rag"], Claims())
    for identity, keyed in (
        (oidc(issuer.url, "rag"), False),
        (by_keys(tmp_path / "keys.json", tokens), True),
    ):
        with running(app(toy(), identity=identity, settings=Settings(data=tmp_path))) as address:

            def who(given: str, address: str = address) -> httpx.Response:
                headers = {"Authorization": f"Bearer {given}"}
                return httpx.get(f"{address}/identity", headers=headers)

            assert who(issuer.token()).json()["user"] == "ann"
            expired = who(issuer.token(exp=1))
            assert (expired.status_code, expired.json()["what"]) == (401, "the token has expired")
            assert expired.headers["www-authenticate"] == 'Bearer error="invalid_token"'
            assert httpx.get(f"{address}/identity").status_code == 401
            assert who(key).status_code == (200 if keyed else 401)
            assert who(f"{key[:-1]}-").status_code == 401


def test_the_settings_of_the_command(issuer: IssuerServer) -> None:
    from rag.cli.application import identify

    settings = ServeSettings(
        oidc_issuer=issuer.url,
        oidc_audience=("rag",),
        oidc_groups="roles",
        oidc_permissions="scope",
        oidc_permission=("rag:ask=ask",),
    )
    token = issuer.token(roles=["hr"], scope="openid rag:ask")
    request = Request({"type": "http", "headers": [(b"authorization", f"Bearer {token}".encode())]})
    assert identify(settings)(request) == Identity(
        "ann", None, frozenset({"ask"}), frozenset({"hr"})
    )
