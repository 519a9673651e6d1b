"""What a language model is, by its name or its configuration: no weights are read for it."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from rag.models.llm import LLMSpec, Profiled
from rag.models.opening.find import ModelFiles, find_model
from rag.models.opening.gguf import library_folder
from rag.models.profiles import local, named_size, window_of


def open_profile(spec: Any, base: Path) -> Profiled:
    """What a model is and can do.

    A model that is not on this machine, or comes as an object of LangChain's, is opened: it has to
    say so itself, and a flow that asks for it later gets the same one.

    Args:
        spec: As for `rag.models.opening.llm.open_llm`.
        base: The folder that relative paths start from.

    Raises:
        ModelError, ConfigError: As `open_llm`; not everything that is wrong with a model is seen.
    """
    if isinstance(spec, LLMSpec):
        files = find_model(spec.model, base)
        named = named_size(files.name) is not None
        config = {} if named else _config(files)
        if named or config:
            return Known(spec, files, base, config)
    from rag.models.opening.llm import open_llm

    return open_llm(spec, base)


class Known(Profiled):
    """A local model that is not open.

    Args:
        spec: What the pipeline says of it.
        files: Where it is.
        base: The folder that relative paths start from.
        config: Of transformers; empty if its name says enough, until the window is asked for.
    """

    def __init__(
        self, spec: LLMSpec, files: ModelFiles, base: Path, config: dict[str, Any]
    ) -> None:
        self._spec, self._files, self._config = spec, files, config
        self.profile = local(files.name, SimpleNamespace(**config)).but(spec.profile, base)

    @cached_property
    def window(self) -> int:  # type: ignore[override]
        """See `Profiled.window`; by the configuration, which a GGUF file is converted for."""
        config = self._config or _config(self._files)
        return window_of(self._spec.window, self.profile, SimpleNamespace(**config))


def _config(files: ModelFiles) -> dict[str, Any]:
    """Of transformers; empty where it is not on this machine, or is no mapping."""
    file = Path(library_folder(files)) / "config.json"
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
