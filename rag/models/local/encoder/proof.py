"""Whether a written-out encoder computes what sentence-transformers does.

The open model says what it is, so no rule of a configuration is written down twice; and a model
that looks like the family and computes otherwise is found out on a probe.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from rag.kvcache.native.linear import Unsupported
from rag.models.local.encoder.config import Activation, EncoderConfig
from rag.models.local.encoder.library import document_prompt, query_prompt
from rag.models.local.late import span_vectors

if TYPE_CHECKING:
    import numpy as np

    from rag.models.local.encoder.text_encoder import TextEncoder

NEAR = 1 - 1e-5
"""The least cosine with the library's vector in float32."""
NEAR_HALF = 0.999
"""The same in bfloat16."""
TEXTS = (
    "What's the capital of France?\n\n  Paris, \tna\u00efve caf\u00e9 \u2014 12,345.67!",
    "\u6771\u4eac\u306f \u041f\u0440\u0438\u0432\u0435\u0442 \U0001f642 \u200b\r\n",
    " [CLS] The keeper [SEP] [MASK] </s><s> OPENS the gate. ",
    "lock",
    "",
)
_CLASSES = ("BertModel", "RobertaModel", "XLMRobertaModel")
_ACTIVATIONS: dict[str, Activation] = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
}


def describe(model: Any) -> EncoderConfig:
    """What an encoder must be told, read from an open `SentenceTransformer`.

    Raises:
        Unsupported: It has parts that the encoder does not know.
    """
    first, pooling, *rest = list(model)
    kinds = [type(module).__name__ for module in (pooling, *rest)]
    if kinds not in (["Pooling"], ["Pooling", "Normalize"]):
        raise Unsupported(f"its modules {', '.join(kinds)}")
    if pooling.pooling_mode not in ("mean", "cls") or not pooling.include_prompt:
        raise Unsupported(f"its pooling {pooling.pooling_mode}")
    inner, config = first.auto_model, first.auto_model.config
    if type(inner).__name__ not in _CLASSES or model.truncate_dim is not None:
        raise Unsupported(type(inner).__name__)
    positions = inner.embeddings.position_embeddings
    offset = 0 if positions.padding_idx is None else int(positions.padding_idx) + 1
    return EncoderConfig(
        prefix="",
        layers=len(inner.encoder.layer),
        heads=int(config.num_attention_heads),
        hidden_size=int(config.hidden_size),
        intermediate_size=int(config.intermediate_size),
        eps=float(config.layer_norm_eps),
        activation=_ACTIVATIONS[config.hidden_act],
        first_position=offset,
        window=int(model.max_seq_length),
        special=tuple(sorted(set(map(int, model.tokenizer.all_special_ids)))),
        pooling=pooling.pooling_mode,
        query_prompt=query_prompt(model),
        document_prompt=document_prompt(model),
        digest=weights_digest(model),
    )


def weights_digest(model: Any) -> str:
    """Eight hexadecimal digits that change with a model's weights: of their sizes, and of a sample.

    Args:
        model: A module of torch.
    """
    digest = hashlib.sha256()
    for name, weight in model.state_dict().items():
        flat = weight.detach().reshape(-1)
        sample = flat[:: max(1, flat.numel() // 64)].float().cpu().numpy()
        digest.update(name.encode() + str(tuple(weight.shape)).encode() + sample.tobytes())
    return digest.hexdigest()[:8]


def agrees(ours: TextEncoder, theirs: TextEncoder, least: float = NEAR) -> bool:
    """Whether two encoders give the same tokens, and vectors of at least a cosine, on a probe."""
    long = " ".join(f"Boat {n} sails past the lock." for n in range(theirs.window // 3))
    texts = [*TEXTS, long]
    if (ours.dim, ours.window) != (theirs.dim, theirs.window):
        return False
    if ours.lengths(texts) != theirs.lengths(texts):
        return False
    pairs: list[tuple[np.ndarray, np.ndarray]] = []
    for query in (False, True):
        pairs.append((ours.vectors(texts, query=query), theirs.vectors(texts, query=query)))
        tokens = [each.tokens(texts, query=query) for each in (ours, theirs)]
        pairs += zip(*tokens, strict=True)
    if theirs.pooling == "mean":
        spans = [(0, 20), (len(long) // 2, len(long))]
        pairs.append((span_vectors(ours, long, spans), span_vectors(theirs, long, spans)))
    return all(_near(one, other, least) for one, other in pairs)


def _near(ours: np.ndarray, theirs: np.ndarray, least: float) -> bool:
    import numpy as np

    if ours.shape != theirs.shape:
        return False
    norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    return bool(((ours * theirs).sum(axis=1) >= least * norms).all())
