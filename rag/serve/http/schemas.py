"""What the OpenAPI document says of all endpoints: ids, and errors as problem details."""

from typing import Annotated, Any

from fastapi import Path
from pydantic import BaseModel

Id = Annotated[str, Path(pattern="^[0-9a-f]{32}$")]


class ProblemBody(BaseModel):
    """Problem details (RFC 9457)."""

    type: str
    title: str
    status: int
    code: str
    what: str
    where: str | None
    fix: str | None


PROBLEM: dict[str, Any] = {
    "model": ProblemBody,
    "content": {"application/problem+json": {}},
    "description": "What was wrong, where, and how to mend it",
}
PROBLEMS: dict[int | str, dict[str, Any]] = dict.fromkeys(
    (400, 401, 403, 404, 413, 422, 429, 500, 503, 504), PROBLEM
)
"""What any endpoint may answer."""
