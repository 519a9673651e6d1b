"""The winner as a pipeline file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.errors import ConfigError
from rag.files import write_atomically
from rag.flow import Flow, load_flow
from rag.paths import write_errors
from rag.tune.edit import with_resource

if TYPE_CHECKING:
    from rag.flow.registry import Registry


def save_winner(
    flow: Flow, path: Path, notes: list[str], registry: Registry | None = None
) -> list[Path]:
    """Write a flow as a pipeline file, beside the pipeline that it came from.

    Texts of prompts that a study proposed are written to a file of their own beside it.

    Args:
        flow: The winner.
        path: In the folder that the flow's relative paths start from.
        notes: Lines of a comment at its top.
        registry: The operators that it uses.

    Returns:
        The files that were written.

    Raises:
        ConfigError: The folder is another one, or a file cannot be written.
    """
    base = flow.resources.base.resolve()
    if path.resolve().parent != base:
        raise ConfigError(
            "the winner names files relative to the pipeline's folder", where=f"--out {path}",
            fix=f"give a name in {base}",
        )  # fmt: skip
    files = [path]
    for name, spec in dict(flow.resources.specs).items():
        given = _prompts(spec)
        if given is not None and Path(given).is_absolute():
            file = path.with_name(f"{path.stem}.{name}.prompts.yaml")
            with write_errors(file, "--out"):
                write_atomically(file, Path(given).read_text(encoding="utf-8"))
            flow = with_resource(flow, name, ("profile", "prompts"), f"./{file.name}")
            files.append(file)
    comment = "".join(f"# {line}\n" for line in notes)
    with write_errors(path, "--out"):
        write_atomically(path, comment + flow.to_yaml())
    load_flow(path, registry=registry)  # what cannot be read again would be found too late
    return files


def _prompts(spec: Any) -> str | None:
    profile = spec.get("profile") if isinstance(spec, dict) else None
    found = (profile or {}).get("prompts")
    return None if found is None else str(found)
