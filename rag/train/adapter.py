"""Adapters of low rank, as PEFT trains and writes them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from rag.extras import require


def with_adapter(model: Any, rank: int, task: str | None = None) -> Any:
    """A model with low-rank matrices at its linear layers, the only ones that are trained.

    Args:
        model: Of transformers; its layers are replaced in place.
        rank: Of the matrices.
        task: As PEFT calls it; None: no head is trained.

    Returns:
        PEFT's model around it.

    Raises:
        ConfigError: PEFT is not installed.
    """
    peft = require("peft", "train", where="rag train")
    config = peft.LoraConfig(
        r=rank, lora_alpha=2 * rank, lora_dropout=0.0, bias="none",
        target_modules="all-linear", task_type=task,
    )  # fmt: skip
    with warnings.catch_warnings():  # of names that PEFT uses and transformers renames
        warnings.simplefilter("ignore", FutureWarning)
        return peft.get_peft_model(model, config)


def save_adapter(model: Any, base: str, folder: Path) -> None:
    """Write the adapter in bfloat16, half the size, with the name of its model.

    Args:
        model: What `with_adapter` gave.
        base: The model, as a pipeline names it; a path becomes absolute.
        folder: Where to.
    """
    import torch

    for one in model.parameters():
        if one.requires_grad:
            one.data = one.data.to(torch.bfloat16)
    path = Path(base).expanduser()
    name = str(path.resolve()) if path.exists() else base
    model.peft_config["default"].base_model_name_or_path = name
    model.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)
