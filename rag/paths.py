"""The user's cache folder; paths that a user names for output, checked before the work starts."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rag.errors import ConfigError


def cache_folder() -> Path:
    """The folder of converted models and calibrations.

    `RAG_CACHE_DIR` if it is set, else the user's cache folder on this system.
    """
    import platformdirs

    given = os.environ.get("RAG_CACHE_DIR")
    return Path(given) if given else platformdirs.user_cache_path("modular-rag")


@contextmanager
def write_errors(path: Path, option: str) -> Iterator[None]:
    """Turn an error of the file system into one that names the option to change.

    Raises:
        ConfigError: The file system refused.
    """
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"cannot be written: {error.strerror or error}",
            where=str(path),
            fix=f"give another {option}",
        ) from error


def writable_folder(path: Path, option: str) -> None:
    """Create a folder if it is missing, and check that files can be created in it.

    Raises:
        ConfigError: They cannot.
    """
    with write_errors(path, option):
        try:
            path.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            fix = f"give another {option}"
            raise ConfigError("is a file, not a folder", where=str(path), fix=fix) from error
        with tempfile.TemporaryFile(dir=path):
            pass


def writable_file(path: Path, option: str) -> None:
    """Check that a file can be created or replaced; its folder is created if it is missing.

    Raises:
        ConfigError: It cannot.
    """
    writable_folder(path.parent, option)
    if path.is_dir():
        raise ConfigError("is a folder", where=str(path), fix=f"give another {option}")
