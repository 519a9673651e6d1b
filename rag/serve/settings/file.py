"""The file of a server's settings: YAML, each line a setting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import PydanticBaseSettingsSource

from rag.errors import ConfigError
from rag.flow.yaml.source import Source
from rag.flow.yaml.values import plain

FIX = "write one setting a line, such as `concurrency: 8`"


class SettingsFile(PydanticBaseSettingsSource):
    """What the file says that `settings` names, where that is given."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Pydantic's way to ask for one; all are given together."""
        raise NotImplementedError

    def __call__(self) -> dict[str, Any]:
        """The settings in the file.

        Raises:
            ConfigError: It cannot be read, or is no mapping.
        """
        path = self.current_state.get("settings")
        return read(Path(path))[0] if path else {}


def read(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """The values of a file, and for each its place: `serve.yaml:3`.

    Raises:
        ConfigError: It cannot be read, or is no mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(
            f"the settings cannot be read: {reason}", where=str(path), fix=FIX
        ) from error
    source = Source(str(path), {})
    values = source.parse(text)
    if values is None:
        return {}, {}
    if not isinstance(values, dict):
        raise ConfigError("a file of settings is a mapping", where=str(path), fix=FIX)
    places = {str(name): source.where(values, name) for name in values}
    if "settings" in values:
        what = "a file of settings cannot name another one"
        raise ConfigError(what, where=places["settings"], fix="leave `settings` out")
    return {str(name): plain(value) for name, value in values.items()}, places
