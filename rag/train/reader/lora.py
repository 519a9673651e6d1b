"""Training low-rank adapters (LoRA, Hu et al. 2021, arXiv 2106.09685) on prompts and answers."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rag.files import write_atomically
from rag.models.opening.find import find_model
from rag.models.opening.gguf import library_folder
from rag.prompts.layout import PromptTokens
from rag.train.adapter import save_adapter, with_adapter
from rag.train.quiet import quiet
from rag.train.reader.masks import Attention, reused

PLACE = "lora.checkpoint"
"""The file in a training's folder that a stopped one goes on from."""
EVERY = 25
"""Steps between two checkpoints."""


@dataclass(frozen=True)
class LoraSettings:
    """How an adapter is trained.

    Attributes:
        rank: Of its matrices; all linear layers of the decoder get them.
        rate: The highest learning rate, after a twentieth of the steps; then it falls to 0.
        batch: Answers for each step.
        epochs: Times that all answers are gone through, each in another order.
        seed: Of the matrices and the orders.
    """

    rank: int = 16
    rate: float = 4e-4
    batch: int = 8
    epochs: int = 1
    seed: int = 0


@dataclass(frozen=True)
class Lesson:
    """A prompt and what is to be answered.

    Attributes:
        prompt: In parts.
        answer: Token ids, with the one that ends an answer.
        attention: Under which it is read.
    """

    prompt: PromptTokens
    answer: tuple[int, ...]
    attention: Attention = "full"


def train_adapter(
    base: str,
    lessons: Sequence[Lesson],
    settings: LoraSettings,
    folder: Path,
    work: Path,
    progress: Callable[[int, int, float], None] = lambda done, total, loss: None,
    dtype: Any = None,
) -> None:
    """Train an adapter and store it in PEFT's format; one that was stopped goes on.

    The loss is the cross-entropy of the answer's tokens alone.

    Args:
        base: The model, as a pipeline names it; a path is one from the working directory.
        lessons: Prompts and answers.
        settings: How.
        folder: Of the adapter; written when all is done.
        work: Folder of the checkpoint, which is removed then.
        progress: Called after each step with lessons done, all of them, and the mean loss since.
        dtype: Of the model's weights; None: as it is opened for answers.

    Raises:
        ConfigError: PEFT is not installed.
        ModelError: There is no such model.
    """
    import torch
    from transformers import AutoModelForCausalLM

    from rag.models.opening.weights import best_dtype

    location = library_folder(find_model(base, Path()))
    torch.manual_seed(settings.seed)
    numbers = dtype or best_dtype("auto", "cpu")
    with quiet():
        plain = AutoModelForCausalLM.from_pretrained(location, dtype=numbers)
    model = with_adapter(plain, settings.rank, "CAUSAL_LM")
    model.train()
    parameters = [one for one in model.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=settings.rate, weight_decay=0.0)
    course = _Course(settings, len(lessons))
    checkpoint = work / PLACE
    step = _resume(checkpoint, parameters, optimizer)
    for batch in course.batches[step:]:
        total = 0.0
        for at in batch:
            loss = _loss(model, lessons[at])
            (loss / len(batch)).backward()
            total += loss.item()
        step += 1
        for group in optimizer.param_groups:
            group["lr"] = course.rate(step)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        progress(course.done(step), course.total, total / len(batch))
        if step % EVERY == 0 and step < len(course.batches):
            _store(checkpoint, step, parameters, optimizer)
    save_adapter(model, base, folder)
    checkpoint.unlink(missing_ok=True)


class _Course:
    """Which answers make each step, and its rate."""

    def __init__(self, settings: LoraSettings, count: int) -> None:
        self._settings = settings
        rng = random.Random(settings.seed)  # noqa: S311 - no secret
        order = [at for _ in range(settings.epochs) for at in rng.sample(range(count), count)]
        size = settings.batch
        self.total = len(order)
        self.batches = [order[at : at + size] for at in range(0, len(order), size)]

    def rate(self, step: int) -> float:
        """The learning rate of a step, from 1: up linearly, then down linearly."""
        last = len(self.batches)
        warm = max(last // 20, 1)
        return self._settings.rate * min(step / warm, (last - step + 1) / (last - warm + 1))

    def done(self, step: int) -> int:
        """Answers that so many steps went through."""
        return min(step * self._settings.batch, self.total)


def _loss(model: Any, lesson: Lesson) -> Any:
    import torch

    answer = torch.tensor(lesson.answer)
    ids = torch.tensor([[*lesson.prompt.ids, *lesson.answer]])
    how: dict[str, Any] = {}
    if lesson.attention != "full":
        seen, positions = reused(lesson.prompt, len(lesson.answer), lesson.attention)
        least = torch.finfo(model.dtype).min
        mask = torch.zeros(seen.shape, dtype=model.dtype).masked_fill(~seen, least)
        how = {"attention_mask": mask[None, None], "position_ids": positions[None]}
    found = model(input_ids=ids, logits_to_keep=len(answer) + 1, use_cache=False, **how)
    return torch.nn.functional.cross_entropy(found.logits[0, :-1].float(), answer)


def _resume(file: Path, parameters: list[Any], optimizer: Any) -> int:
    """The steps that a stopped training made; its state goes into parameters and optimizer."""
    import torch

    if not file.exists():
        return 0
    stored = torch.load(file, weights_only=True)
    optimizer.load_state_dict(stored["optimizer"])
    with torch.no_grad():
        for one, value in zip(parameters, stored["parameters"], strict=True):
            one.copy_(value)
    return int(stored["step"])


def _store(file: Path, step: int, parameters: list[Any], optimizer: Any) -> None:
    import torch

    values = [one.detach().clone() for one in parameters]
    content = io.BytesIO()
    torch.save({"step": step, "parameters": values, "optimizer": optimizer.state_dict()}, content)
    write_atomically(file, content.getvalue())
