"""A course of training by the trainers of sentence-transformers, which a kill only interrupts."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rag.extras import check_installed
from rag.models.opening.weights import best_device
from rag.train.quiet import quiet

EVERY = 50
"""Steps between two checkpoints."""
WEIGHTS, STATE = "trained.pt", "trainer_state.json"
"""Files of a checkpoint: what was trained, and the last one that the trainer writes."""

Progress = Callable[[int, int], None]
"""Takes the steps that are done, and all of them."""


@dataclass(frozen=True)
class Course:
    """How a model is trained.

    Attributes:
        rate: The highest learning rate, after a tenth of the steps; then it falls to 0.
        batch: Triples for each step.
        epochs: Times that all triples are gone through, each in another order.
        tokens: Of a text that are read while it is trained; later it reads its whole window.
        seed: Of the orders, and of what is left out at random.
    """

    rate: float = 2e-5
    batch: int = 16
    epochs: int = 1
    tokens: int = 160
    seed: int = 0


def require_trainers(where: str) -> None:
    """Refuse to begin without the libraries that train.

    Raises:
        ConfigError: One of them is not installed.
    """
    for name in ("accelerate", "datasets", "ir_measures"):
        check_installed(name, "train", where=where)


def fit(
    kind: Literal["SentenceTransformer", "CrossEncoder"],
    model: Any,
    loss: Any,
    rows: Mapping[str, Sequence[Any]],
    course: Course,
    folder: Path,
    progress: Progress,
    apart: Mapping[str, Collection[str]] | None = None,
    prompts: Mapping[str, str] | None = None,
) -> None:
    """Train a model; a training that was stopped goes on from its last checkpoint.

    Args:
        kind: Of the model.
        model: Open; trained in place. Parameters that need no gradient stay as they are.
        loss: Of sentence-transformers, over the model.
        rows: Column to its values.
        course: How.
        folder: Of the checkpoints.
        progress: Called after each step.
        apart: Question to the texts that answer it: no other row of its batch has one. None: rows
            are put together at random.
        prompts: Column to what stands before its texts.
    """
    import sentence_transformers
    import torch
    from datasets import Dataset
    from sentence_transformers.base.sampler import DefaultBatchSampler
    from transformers import PrinterCallback

    window, model.max_seq_length = model.max_seq_length, min(course.tokens, model.max_seq_length)
    arguments = getattr(sentence_transformers, f"{kind}TrainingArguments")(
        output_dir=str(folder), num_train_epochs=course.epochs, learning_rate=course.rate,
        per_device_train_batch_size=course.batch, warmup_steps=0.1, lr_scheduler_type="linear",
        seed=course.seed, data_seed=course.seed, save_strategy="steps", save_steps=EVERY,
        save_total_limit=1, logging_strategy="no", report_to="none", disable_tqdm=True,
        use_cpu=best_device() == "cpu", dataloader_pin_memory=False,
        prompts={name: one for name, one in (prompts or {}).items() if one} or None,
        **({} if apart is None else {"batch_sampler": parted(apart, DefaultBatchSampler)}),
    )  # fmt: skip
    with quiet():
        trainer = _trainer(getattr(sentence_transformers, f"{kind}Trainer"))(
            model=model, args=arguments, train_dataset=Dataset.from_dict(dict(rows)),
            loss=loss, callbacks=[_callback(progress)],
        )  # fmt: skip
        trainer.remove_callback(PrinterCallback)
        last = _last(folder)
        torch.manual_seed(course.seed)
        trainer.train(resume_from_checkpoint=None if last is None else str(last))
    model.max_seq_length = window


def _last(folder: Path) -> Path | None:
    """The newest checkpoint that was written to its end."""
    found = []
    for state in folder.glob(f"checkpoint-*/{STATE}"):
        try:
            json.loads(state.read_text(encoding="utf-8"))
        except ValueError:
            continue
        found.append(state.parent)
    return max(found, key=lambda one: int(one.name.rpartition("-")[2]), default=None)


def _trainer(library: Any) -> Any:
    """The library's trainer, with checkpoints of what is trained and nothing else."""
    import torch

    class Trainer(library):  # type: ignore[misc]
        def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
            place = Path(output_dir or self.args.output_dir)
            place.mkdir(parents=True, exist_ok=True)
            own = {
                name: one.detach().cpu()
                for name, one in self.model.named_parameters() if one.requires_grad
            }  # fmt: skip
            torch.save(own, place / WEIGHTS)

        def add_model_card_callback(self, *_: Any) -> None:
            """None: the card is ours."""

        def _load_from_checkpoint(self, checkpoint: str, *_: Any) -> None:
            stored = torch.load(Path(checkpoint) / WEIGHTS, weights_only=True)
            own = dict(self.model.named_parameters())
            with torch.no_grad():
                for name, value in stored.items():
                    own[name].copy_(value)

    return Trainer


def _callback(progress: Progress) -> Any:
    from transformers import TrainerCallback

    class Steps(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **how: Any) -> None:
            progress(state.global_step, state.max_steps)

    return Steps()


def parted(answers: Mapping[str, Collection[str]], library: Any) -> Any:
    """Batches in which no text answers the question of another row.

    With in-batch negatives every other row's texts count as wrong for a question.

    Args:
        answers: Question to the texts that answer it.
        library: The class of sentence-transformers that gives batches.
    """
    import torch

    class Apart(library):  # type: ignore[misc]
        def __init__(self, dataset: Any, batch_size: int, seed: int, **how: Any) -> None:
            super().__init__(range(len(dataset)), batch_size=batch_size, drop_last=False, seed=seed)
            self._questions = list(dataset["anchor"])
            texts = zip(dataset["positive"], dataset["negative"], strict=True)
            self._texts = [set(pair) for pair in texts]
            self.epoch = 0

        def _batches(self) -> list[list[int]]:
            generator = torch.Generator().manual_seed(self.seed + self.epoch)
            left = torch.randperm(len(self._questions), generator=generator).tolist()
            found = []
            while left:
                batch: list[int] = []
                passed: list[int] = []
                waiting = iter(left)
                for at in waiting:
                    fits = all(self._fit(at, other) for other in batch)
                    (batch if fits else passed).append(at)
                    if len(batch) == self.batch_size:
                        break
                found.append(batch)
                left = [*passed, *waiting]
            return found

        def _fit(self, one: int, other: int) -> bool:
            first, second = self._questions[one], self._questions[other]
            if first == second:
                return False
            return not (
                self._texts[one] & set(answers.get(second, ()))
                or self._texts[other] & set(answers.get(first, ()))
            )

        def __iter__(self) -> Any:
            return iter(self._batches())

        def __len__(self) -> int:
            return len(self._batches())

    return Apart
