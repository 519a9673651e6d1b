"""Errors that are nobody's bug, as errors of our own: the file system's, and closed streams."""

from __future__ import annotations

from rag.errors import ConfigError, RagError


def explained(error: Exception) -> RagError | None:
    """The error to show in the place of a traceback; None: it is a bug, and the traceback helps.

    Args:
        error: What ended a command.
    """
    if isinstance(error, RagError):
        return error
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return ConfigError(
            error.strerror.lower(),
            where=_name(error.filename),
            fix="give another path, or change its permissions; --debug shows more",
        )
    return None


def _name(given: object) -> str:
    return given.decode(errors="replace") if isinstance(given, bytes) else str(given)
