"""Errors as HTTP answers: problem details (RFC 9457) that say what, where and how to fix it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rag.errors import (
    BudgetError,
    CheckpointError,
    IndexStateError,
    InputError,
    LoadError,
    ModelError,
    RagError,
    StepError,
)
from rag.flow.operator import snake_case

if TYPE_CHECKING:
    from starlette.responses import Response

    from rag.serve.identity.identity import Identity

log = logging.getLogger("rag.serve")

STATUS: tuple[tuple[type[RagError], int], ...] = (
    (InputError, 422),
    (LoadError, 422),
    (CheckpointError, 409),
    (IndexStateError, 503),
    (ModelError, 503),
    (BudgetError, 504),
)
"""Any other error is the fault of the server's own configuration or code: 500."""

ABOUT_REQUESTS = frozenset({409, 422, 504})
OPERATOR = "tell the server's operator, or try again later"

MEDIA_TYPE = "application/problem+json"


class Problem(RagError):  # noqa: N818 - what RFC 9457 calls it
    """An error with its HTTP status.

    Args:
        status: The HTTP status.
        code: A short name that programs may rely on: `queue_full`.
        what: One sentence that says what was wrong.
        where: Field, header or path.
        fix: How to mend it.
        headers: Further headers of the answer, such as `Retry-After`.
        internal: It tells of the server's own files or configuration.
    """

    def __init__(
        self,
        status: int,
        code: str,
        what: str,
        *,
        where: str | None = None,
        fix: str | None = None,
        headers: Mapping[str, str] | None = None,
        internal: bool = False,
    ) -> None:
        super().__init__(what, where=where, fix=fix)
        self.status, self.code, self.headers = status, code, dict(headers or {})
        self.internal = internal

    def seen_by(self, identity: Identity | None) -> Problem:
        """The problem as it is shown to someone: only administrators see the server's insides."""
        if not self.internal or (identity is not None and "admin" in identity.may):
            return self
        what = "the server cannot answer; its log says why"
        return Problem(self.status, self.code, what, fix=OPERATOR, headers=self.headers)


def problem_of(error: BaseException) -> Problem:
    """The error as a `Problem`.

    What an error that is not the library's own says goes to the log only: it may hold secrets.
    """
    if isinstance(error, Problem):
        return error
    cause = error.__cause__
    if isinstance(error, StepError) and isinstance(cause, RagError):
        inner = problem_of(cause)
        where = inner.where or error.where
        return Problem(
            inner.status, inner.code, inner.what, where=where, fix=inner.fix,
            internal=inner.internal,
        )  # fmt: skip
    if isinstance(error, RagError):
        foreign = isinstance(error, StepError)
        if foreign:
            log.error("a step failed", exc_info=error)
        status = next((status for kind, status in STATUS if isinstance(error, kind)), 500)
        what = "a step failed; the server's log says why" if foreign else error.what
        code = snake_case(type(error).__name__)
        headers = {"Retry-After": "5"} if status == 503 else {}
        internal = status not in ABOUT_REQUESTS and not foreign
        if internal:
            log.error("%s", error)
        return Problem(
            status, code, what, where=error.where, fix=error.fix, headers=headers, internal=internal
        )
    log.error("a request failed", exc_info=error)
    return Problem(500, "internal_error", "the server failed; its log says why")


def details(problem: Problem) -> dict[str, Any]:
    """The members of the problem's JSON."""
    from http import HTTPStatus

    return {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "code": problem.code,
        "what": problem.what,
        "where": problem.where,
        "fix": problem.fix,
    }


def respond(problem: Problem) -> Response:
    """The problem as an HTTP response."""
    from starlette.responses import JSONResponse

    return JSONResponse(
        details(problem), problem.status, headers=problem.headers, media_type=MEDIA_TYPE
    )
