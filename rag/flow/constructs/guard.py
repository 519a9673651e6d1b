"""`Guard`: policies around any node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from rag.errors import ConfigError
from rag.flow.constructs.checks import optional_node, whole
from rag.flow.node import Construct, Node, as_node, part
from rag.flow.policies import Budget, Cache, Retry


@dataclass(frozen=True)
class Guard(Construct):
    """A node under policies: `Guard(flow, timeout=5, retry=Retry(times=2))`.

    A step has the same policies as fields of its own. In a pipeline file they stand beside the
    construct's key.

    Args:
        body: What runs.
        timeout: Seconds for each attempt.
        retry: Further attempts after a failure.
        fallback: What runs in its place when the last attempt failed. It writes the same
            channels, and reads what was wrong from `error` (the message) and `error_type` (the
            name of the exception's class).
        cache: Take the result of equal inputs from the flow's step cache.
        concurrency: At most so many executions at a time, over all runs of the flow.
        budget: What one execution may use.
    """

    yaml_key = "guard"
    shares_place = True
    body: Node = part("node")
    timeout: float | None = part(default=None)
    retry: Retry | None = part(default=None)
    fallback: Node | None = part("node", edge=".fallback", default=None)
    cache: Cache | None = part(default=None)
    concurrency: int | None = part(default=None)
    budget: Budget | None = part(default=None)

    name = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "body", as_node(self.body))
        object.__setattr__(self, "fallback", optional_node(self.fallback))
        if self.timeout is not None and not (
            isinstance(self.timeout, int | float) and self.timeout > 0
        ):
            raise ConfigError(f"timeout is {self.timeout!r}", fix="give seconds, more than 0")
        for field, kind in (("retry", Retry), ("cache", Cache), ("budget", Budget)):
            object.__setattr__(self, field, _policy(field, kind, getattr(self, field)))
        if self.concurrency is not None:
            whole("concurrency", self.concurrency)

    @property
    def label(self) -> str:
        """The guarded node's own."""
        return self.body.label or "steps"


def _policy(field: str, kind: Any, value: Any) -> Any:
    if value is None or isinstance(value, kind):
        return value
    if field == "cache" and isinstance(value, bool):
        return Cache() if value else None
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        detail = error.errors()[0]
        where = ".".join([field, *map(str, detail["loc"])])
        raise ConfigError(f"{where}: {detail['msg']}", fix=f"give a {kind.__name__}") from error
