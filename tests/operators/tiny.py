"""Models of the real kinds, tiny and untrained: their weights are drawn with a seed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def bert(folder: Path, kind: str, texts: Sequence[str], **options: Any) -> Path:
    """Save a BERT of one layer whose vocabulary is the words of the texts.

    Args:
        folder: Where to; made.
        kind: The class in transformers.
        texts: Their words are known.
        options: Of the configuration.
    """
    import torch
    import transformers

    folder.mkdir(parents=True)
    words = sorted({word.strip(".,-?").lower() for text in texts for word in text.split()})
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    (folder / "vocab.txt").write_text("\n".join([*special, *words]))
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(words) + 5, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=64, **options,
    )  # fmt: skip
    getattr(transformers, kind)(config).save_pretrained(folder)
    transformers.BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


def splade(folder: Path, texts: Sequence[str]) -> Path:
    """Save a sparse encoder of sentence-transformers; gives its folder."""
    from sentence_transformers import SparseEncoder
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sparse_encoder.modules import SpladePooling

    place = bert(folder / "bert", "BertForMaskedLM", texts)
    transformer = Transformer(str(place), transformer_task="fill-mask")
    made = SparseEncoder(modules=[transformer, SpladePooling("max")])
    made.save_pretrained(str(folder / "model"))
    return folder / "model"


def cross_encoder(folder: Path, texts: Sequence[str]) -> Path:
    """Save a cross-encoder of sentence-transformers; gives its folder."""
    return bert(folder, "BertForSequenceClassification", texts, num_labels=1)


def nli(folder: Path, texts: Sequence[str]) -> Path:
    """Save a model of inference, `entailment` in the middle; gives its folder."""
    labels = {0: "contradiction", 1: "entailment", 2: "neutral"}
    return bert(
        folder, "BertForSequenceClassification", texts, id2label=labels,
        label2id={name: at for at, name in labels.items()},
    )  # fmt: skip
