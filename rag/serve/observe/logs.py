"""Logging of `rag serve`: lines of text or of JSON, on standard error; the audit log apart."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import Any

from rag.errors import ConfigError
from rag.serve.observe.repeated import Repeated
from rag.serve.settings.settings import ServeSettings

TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
STREAM = "-"
"""As the audit log's file: where all other lines go."""


def configure_logging(settings: ServeSettings) -> None:
    """Set up the loggers of this process.

    Raises:
        ConfigError: The file of the audit log cannot be written.
    """
    lines = logging.StreamHandler()
    lines.addFilter(Repeated())
    lines.setFormatter(_json() if settings.log_format == "json" else logging.Formatter(TEXT))
    _set("", "WARNING", [lines])
    _set("rag", settings.log_level.upper())
    _set("rag.access", "NOTSET" if settings.access_log else "CRITICAL")
    audit_to(settings.audit_log, lines)


def audit_to(where: str | None, lines: logging.Handler | None = None) -> None:
    """Set up the audit log alone.

    Args:
        where: Its file; `-`: where other lines go; None: nowhere.
        lines: Where that is. Default: JSON on standard error.

    Raises:
        ConfigError: The file cannot be written.
    """
    handlers: list[logging.Handler] = []
    if where == STREAM and lines is not None:
        handlers = [lines]
    elif where is not None:
        handlers = [logging.StreamHandler() if where == STREAM else AuditFile(Path(where))]
        handlers[0].setFormatter(_json())
    _set("rag.audit", "INFO", handlers, propagate=False)


def _set(
    name: str, level: str, handlers: Sequence[logging.Handler] = (), *, propagate: bool = True
) -> None:
    logger = logging.getLogger(name)
    logger.setLevel(level)
    for old in [*logger.handlers]:
        logger.removeHandler(old)
    for one in handlers or (() if propagate else (logging.NullHandler(),)):
        logger.addHandler(one)
    logger.propagate = propagate


def _json() -> logging.Formatter:
    from pythonjsonlogger.json import JsonFormatter

    renamed = {"levelname": "level", "name": "logger"}
    return JsonFormatter(
        "{levelname}{name}{process}{message}", style="{", rename_fields=renamed, timestamp=True
    )


class AuditFile(WatchedFileHandler):
    """Adds lines to a file that its owner alone can read.

    Several processes may share it. Where it is moved away, a new one is begun.

    Raises:
        ConfigError: It cannot be written.
    """

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            super().__init__(path, encoding="utf-8")
        except OSError as error:
            raise ConfigError(
                f"the audit log cannot be written: {error.strerror}", where=str(path),
                fix="give another file with --audit-log, or - for standard error",
            ) from error  # fmt: skip

    def _open(self) -> Any:
        return open(self.baseFilename, self.mode, encoding=self.encoding, opener=_private)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
