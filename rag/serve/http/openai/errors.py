"""Errors as OpenAI's clients read them."""

from typing import Any

from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel

from rag.serve.errors import Problem

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


class ErrorDetails(BaseModel):
    """What was wrong."""

    message: str
    type: str
    code: str | None
    param: str | None


class ErrorBody(BaseModel):
    """An error as OpenAI's clients read it."""

    error: ErrorDetails


ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody} for status in (400, 401, 403, 404, 413, 422, 429, 500, 503, 504)
}
"""What any endpoint may answer."""


def error_of(problem: Problem) -> dict[str, Any]:
    """The problem as OpenAI's clients read it."""
    code = "model_not_found" if problem.code == "no_pipeline" else problem.code
    otherwise = "server_error" if problem.status >= 500 else "invalid_request_error"
    kind = _TYPES.get(problem.status, otherwise)
    message = f"{problem.what}; {problem.fix}" if problem.fix else problem.what
    return {"error": {"message": message, "type": kind, "code": code, "param": problem.where}}


def respond(problem: Problem) -> Response:
    """The problem as an HTTP response."""
    return JSONResponse(error_of(problem), problem.status, headers=problem.headers)


def unsupported(what: str, where: str) -> Problem:
    """The answer to a request for what pipelines cannot do."""
    return Problem(400, "unsupported", f"{what}: not supported", where=where, fix="leave it out")
