"""One line on standard error that says what goes on, on a terminal only."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self


class Status:
    """A line that is written over, and gone in the end.

    Args:
        shown: Whether to show it at all; it never is where standard error is no terminal.
    """

    def __init__(self, *, shown: bool = True) -> None:
        self._shown = shown and sys.stderr is not None and sys.stderr.isatty()
        self._length = 0

    def __call__(self, text: str) -> None:
        """Write a text in the place of the last one."""
        if self._shown:
            # Blanks and no escape sequence: every terminal understands them, that of Windows too.
            sys.stderr.write("\r" + text + " " * (self._length - len(text)))
            sys.stderr.flush()
            self._length = len(text)

    def clear(self) -> None:
        """Take the line away."""
        if self._length:
            sys.stderr.write("\r" + " " * self._length + "\r")
            sys.stderr.flush()
            self._length = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.clear()
