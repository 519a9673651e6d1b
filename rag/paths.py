"""Places that somebody names to be written to: tried before the work starts."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rag.errors import ConfigError


@contextmanager
def writing(place: Path, option: str) -> Iterator[None]:
    """Turn an error of the file system into one that names the option to change.

    Raises:
        ConfigError: The file system refused.
    """
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"cannot be written: {error.strerror or error}",
            where=str(place),
            fix=f"give another {option}",
        ) from error


def folder(place: Path, option: str) -> None:
    """Make a folder, and see that files can be made in it.

    Raises:
        ConfigError: They cannot.
    """
    with writing(place, option):
        try:
            place.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            fix = f"give another {option}"
            raise ConfigError("is a file, not a folder", where=str(place), fix=fix) from error
        with tempfile.TemporaryFile(dir=place):
            pass


def file(place: Path, option: str) -> None:
    """See that a file can be made or replaced.

    Raises:
        ConfigError: It cannot.
    """
    folder(place.parent, option)
    if place.is_dir():
        raise ConfigError("is a folder", where=str(place), fix=f"give another {option}")
