"""From YAML to a flow, with the line of everything that is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rag.flow.flow import Flow
from rag.flow.registry import Registry
from rag.flow.yaml.reader import Reader
from rag.flow.yaml.source import read_text


def load_flow(
    source: str | Path,
    *,
    params: Mapping[str, Any] | None = None,
    registry: Registry | None = None,
    base: Path | None = None,
) -> Flow:
    """Read a flow from a pipeline file, or from its text.

    Args:
        source: A path, or YAML text (a string of more than one line).
        params: Values for `${name}` and `${name:default}`. A value of the environment is read
            where the file names it: `${env:NAME}`.
        registry: The operators that may be used; default: all that are installed.
        base: The folder that resources' relative paths start from; default: the file's.

    Raises:
        ConfigError: The file is missing or not YAML.
        BuildError: The flow does not fit together; all problems, each with its line.
    """
    if isinstance(source, str) and "\n" in source:
        text, path = source, None
    else:
        path = Path(source)
        text = read_text(path)
    folder = path.parent if path else Path()
    return Reader(path, base or folder, registry or Registry(), params or {}).flow(text)
