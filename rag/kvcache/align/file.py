"""The file of a model's map: safetensors with a digest, written whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rag.errors import ConfigError
from rag.files import write_atomically
from rag.kvcache.align.alignment import Alignment
from rag.paths import cache_folder

if TYPE_CHECKING:
    from rag.kvcache.geometry import Geometry

VERSION = "1"
_FIX = "fit it again: rag cache calibrate"


def path_of(fingerprint: str) -> Path:
    """The file of a model's map, beside the model's calibration in the user's cache folder."""
    return cache_folder() / "calibration" / f"{fingerprint}.align.safetensors"


def save(alignment: Alignment, fingerprint: str) -> Path:
    """Store a model's map for every later use of the model; returns its file.

    Args:
        alignment: The map.
        fingerprint: The model's.

    Raises:
        OSError: It cannot be written; a map that was there still is.
    """
    from safetensors.torch import save as pack

    tensors = {"down": alignment.down, "place": alignment.place, "up": alignment.up}
    about = {"version": VERSION, "model": fingerprint, "digest": alignment.digest}
    path = path_of(fingerprint)
    write_atomically(path, pack(tensors, metadata=about))
    return path


def load(fingerprint: str, geometry: Geometry) -> Alignment | None:
    """A model's map; None: none was fitted.

    Args:
        fingerprint: The model's.
        geometry: The shape of its states.

    Raises:
        ConfigError: The file is damaged, or another model's.
    """
    from safetensors import SafetensorError, safe_open

    path = path_of(fingerprint)
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            found = Alignment(*(file.get_tensor(name) for name in ("down", "place", "up")))
    except (OSError, SafetensorError, ValueError) as error:
        raise ConfigError(f"no alignment: {error}", where=str(path), fix=_FIX) from error
    if problem := _problem(found, about, fingerprint, geometry):
        raise ConfigError(f"no alignment of this model: {problem}", where=str(path), fix=_FIX)
    return found


def _problem(
    found: Alignment, about: dict[str, str], fingerprint: str, geometry: Geometry
) -> str | None:
    if about.get("version") != VERSION:
        return f"its version is {about.get('version')}, not {VERSION}"
    if about.get("model") != fingerprint:
        return "it was fitted for another one"
    if not found.fits(geometry.layers, geometry.kv_heads * geometry.head_dim):
        return "its numbers do not fit the model's states"
    if about.get("digest") != found.digest:
        return "its digest differs, it was changed or damaged"
    return None
