"""The packaged models as the tests open them: their weights are read once in a process.

Commands, documents and servers open a model in every test anew, and reading the language model's
weights takes more than a second each time. What is shared is what nobody changes: weights and
tokenizers. All else of a model (queue, caches, stores) is made at each opening. Mapped weights, an
adapter, any other model, and any model in a test that has a cache folder of its own are read as
ever.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from rag.models.opening import encoders, llm
from rag.models.opening.find import PACKAGED, find_model
from rag.paths import cache_folder

open_llm, open_embedder = llm.open_llm, encoders.open_embedder
_native, _encoder, _folder = llm.open_native, encoders.open_native_encoder, llm.library_folder


@cache
def _packaged() -> set[str]:
    """The folders of the packaged models."""
    return {find_model(name, Path()).location for name in PACKAGED}


def _folder_once(files: Any) -> str:
    """The converted folder of a packaged model, whose file is not read again for its digest."""
    if files.location not in _packaged():
        return _folder(files)
    key = (cache_folder(), files.location)
    if key not in _folders:
        _folders[key] = _folder(files)
    return _folders[key]


def _native_once(
    folder: str, dtype: Any, device: str, mapped: bool = False, adapter: Any = None
) -> Any:
    if mapped or adapter is not None or folder not in _folders.values():
        return _native(folder, dtype, device, mapped, adapter)
    key = (cache_folder(), folder, dtype, device)
    if key not in _opened:
        _opened[key] = _native(folder, dtype, device)
    return _opened[key]


def _encoder_once(folder: str, dtype: str, by_library: Any, adapter: Any = None) -> Any:
    if adapter is not None or folder not in _packaged():
        return _encoder(folder, dtype, by_library, adapter)
    key = (cache_folder(), folder, dtype)
    if key not in _opened:
        _opened[key] = _encoder(folder, dtype, by_library)
    return _opened[key]


_folders: dict[tuple[Path, str], str] = {}
_opened: dict[tuple[Any, ...], Any] = {}
vars(llm).update(open_native=_native_once, library_folder=_folder_once)
vars(encoders).update(open_native_encoder=_encoder_once)
