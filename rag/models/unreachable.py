"""The error for a service that did not do what was requested."""

from __future__ import annotations

from rag.errors import ModelError


def unreachable(what: str, resource: str, error: Exception) -> ModelError:
    """The error, with the first 300 characters of the client's own.

    Args:
        what: What did not happen.
        resource: Which one in the pipeline.
        error: Of the provider's client.
    """
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    return ModelError(
        f"{what}: {reason}",
        where=f"resources.{resource}",
        fix="check its address, key and network",
    )
