"""Ready-made flows, one YAML file each."""

from pathlib import Path

from rag.errors import ConfigError
from rag.names import suggestion

SPACE = ".tune"
"""How the name of a file ends that is there for its search space."""


def path(name: str) -> Path:
    """The file of the ready-made flow called `name`.

    Raises:
        ConfigError: There is none of that name.
    """
    found = Path(__file__).parent / f"{name}.yaml"
    if not found.is_file():
        raise ConfigError(
            f"there is no ready-made flow {name!r}",
            fix=suggestion(name, [*names(), *spaces()], label="ready-made"),
        )
    return found


def names() -> list[str]:
    """The names of the ready-made flows."""
    return [name for name in _stems() if not name.endswith(SPACE)]


def spaces() -> list[str]:
    """The names of the ready-made search spaces, for `rag tune`."""
    return [name for name in _stems() if name.endswith(SPACE)]


def _stems() -> list[str]:
    return sorted(file.stem for file in Path(__file__).parent.glob("*.yaml"))
