"""Weights in four bits straight from a GGUF file: its own levels, scales and zeros."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.files import write_atomically
from rag.kvcache.native.config import DecoderConfig
from rag.kvcache.native.linear import GROUP

if TYPE_CHECKING:
    import torch

    from rag.kvcache.native.linear import Packed

FORMAT = "1"
"""Part of the file's name; raised when the packing changes."""
ROWS = 64
"""Outputs that torch packs together; layers whose outputs are no multiple are left out."""
_NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def packed(file: Path, folder: Path, config: DecoderConfig) -> Packed | None:
    """The weights of a GGUF file that are in four bits, as torch multiplies by them.

    Packed once, into a file beside the converted weights; its name says for which instructions of
    the processor, on which the order depends.

    Args:
        file: The GGUF file.
        folder: Of its converted weights.
        config: Of the model.

    Returns:
        None where no weight is of Q4_0 or Q4_1.
    """
    import torch
    from safetensors import safe_open

    processor = torch.backends.cpu.get_cpu_capability()
    target = folder / f"int4-{FORMAT}-{processor}.safetensors"
    if not target.is_file():
        from safetensors.torch import save

        write_atomically(target, save(_pack(file, folder / "model.safetensors", config)))
    opened: Any = safe_open(target, framework="pt")
    names = set(opened.keys())

    def weight(name: str) -> tuple[torch.Tensor, torch.Tensor] | None:
        if name not in names:
            return None
        return opened.get_tensor(name), opened.get_tensor(f"{name}.scales")

    return weight if names else None


def _pack(file: Path, converted: Path, config: DecoderConfig) -> dict[str, torch.Tensor]:
    import torch
    from gguf import GGUFReader
    from safetensors import safe_open

    own: Any = safe_open(converted, framework="pt")
    found: dict[str, torch.Tensor] = {}
    for one in GGUFReader(file).tensors:
        match = re.fullmatch(r"blk\.(\d+)\.(\w+)\.weight", one.name)
        if match is None or match[2] not in _NAMES or one.tensor_type.name not in ("Q4_0", "Q4_1"):
            continue
        name = f"model.layers.{match[1]}.{_NAMES[match[2]]}.weight"
        size = 18 if one.tensor_type.name == "Q4_0" else 20
        blocks = torch.from_numpy(one.data.copy()).view(len(one.data), -1, size)
        levels, scales, zeros = _parts(blocks)
        rows = _order(own.get_tensor(name), levels, scales, zeros, config)
        if rows is None or len(levels) % ROWS:
            continue
        ordered = levels[rows].flatten(1).int()
        found[name] = torch.ops.aten._convert_weight_to_int4pack_for_cpu(ordered, 1)
        # Torch counts levels from -8 on.
        both = torch.stack([scales, zeros + 8 * scales], dim=-1)[rows]
        found[f"{name}.scales"] = both.transpose(0, 1).contiguous()
    return found


def _parts(blocks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Levels [out, groups, 32], scales and zeros [out, groups] of blocks [out, groups, bytes].

    A weight is scale times level plus zero. Q4_0 has a scale, and levels from -8 on; Q4_1 a scale
    and a zero. The first half of a block's weights is in the low bits.
    """
    import torch

    half = blocks.shape[-1] - GROUP // 2
    numbers, nibbles = blocks[..., :half].contiguous(), blocks[..., half:]
    constants = numbers.view(torch.float16).float()
    scales = constants[..., 0]
    zeros = constants[..., 1] if half == 4 else -8 * scales
    return torch.cat([nibbles & 15, nibbles >> 4], dim=-1), scales, zeros


def _order(
    weight: torch.Tensor,
    levels: torch.Tensor,
    scales: torch.Tensor,
    zeros: torch.Tensor,
    config: DecoderConfig,
) -> torch.Tensor | None:
    """Which row of the file is which of the converted weight; None: they do not agree.

    Some architectures have the rows of each head in GGUF's order of rotation.
    """
    import torch

    exact = (levels * scales[..., None] + zeros[..., None]).flatten(1).to(weight.dtype)
    plain = torch.arange(len(weight))
    rotated = [
        plain.view(heads, -1, 2).transpose(1, 2).flatten()
        for heads in (config.heads, config.kv_heads)
        if len(weight) == heads * config.head_dim
    ]
    return next((one for one in (plain, *rotated) if exact[one].equal(weight)), None)
