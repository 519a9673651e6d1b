"""Sparse decoding: all of the context is dense decoding, and less of it is what was read."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rag.errors import ConfigError
from rag.kvcache import kernels
from rag.kvcache.composers.registry import composers
from rag.kvcache.decode import decode
from rag.kvcache.engine import KVEngine
from rag.kvcache.masks import Masks
from rag.kvcache.passes import Pass
from rag.kvcache.plan import Plan, Reweighted
from rag.kvcache.prefilled import Prefilled
from rag.kvcache.settings import ReuseSettings
from rag.kvcache.sparse import BLOCK, _kept
from rag.models.local.model import LocalLLM
from tests.kvcache.helpers import CONTEXT, PREFIX, SUFFIX, make_engine, prefill

MODES = sorted(set(composers()) - {"full"})
ARCHITECTURES = ["llama", "mistral-sliding", "phi3", "smollm3-nope"]


def answer(engine: KVEngine, done: Prefilled, tokens: int = 8) -> list[int]:
    with torch.inference_mode():
        return list(decode(engine.view, done, lambda logits: int(logits.argmax()), tokens))


def behind(engine: KVEngine, done: Prefilled) -> torch.Tensor:
    """Logits of the token behind the answer's first."""
    with torch.inference_mode():
        one = Pass.consecutive([7], done.position, done.buffer, done.plan)
        return engine.view.forward(one)[0].float()


@pytest.mark.parametrize("mode", composers())
def test_a_budget_of_the_whole_context_is_dense(mode: str) -> None:
    engine = make_engine("llama")
    prefill(engine, mode)
    dense = prefill(engine, mode, room=8)
    all_of_it = prefill(engine, mode, room=8, sparse=len(CONTEXT))
    assert all_of_it.report.sparse is None
    assert torch.equal(behind(engine, dense), behind(engine, all_of_it))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("mode", ["full", "prefix", "focus", "parallel", "ape"])
def test_all_but_a_token_that_nobody_reads_is_nearly_dense(mode: str, architecture: str) -> None:
    """The prompt's states and the first token's logits do not change at all."""
    engine = make_engine(architecture)
    prefill(engine, mode)
    dense = prefill(engine, mode, room=8)
    sparse = prefill(engine, mode, room=8, sparse=len(CONTEXT) - 1)
    assert torch.allclose(sparse.logits, dense.logits, atol=1e-4)
    assert sparse.report.sparse == len(CONTEXT) - 1
    assert sparse.buffer.length == dense.buffer.length - 1
    far = (behind(engine, sparse) - behind(engine, dense)).abs().max()
    assert float(far) < 0.5


@pytest.mark.parametrize("mode", composers())
def test_every_composer_decodes_over_few_tokens(mode: str) -> None:
    engine = make_engine("llama")
    prefill(engine, mode)
    done = prefill(engine, mode, room=8, sparse=20)
    assert done.buffer.length == len(PREFIX) + 20 + len(SUFFIX)
    assert len(answer(engine, done)) == 8
    if isinstance(done.plan, Reweighted):
        assert done.plan.context == (0, 20)


class Only(Plan):
    """Dense attention in which each key head sees some slots, and all behind the prompt."""

    def __init__(self, seen: torch.Tensor) -> None:
        self.seen = seen

    def attend(
        self,
        masks: Masks,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        scores = kernels.scores(kernels.fold(query, masks.groups), key, scale)
        behind = torch.ones(len(self.seen[layer]), key.shape[2] - self.seen.shape[2]).bool()
        seen = torch.cat([self.seen[layer], behind], dim=-1)
        weights = scores.masked_fill(~seen[None, :, None], float("-inf")).softmax(-1)
        return kernels.unfold(weights @ value, masks.groups)


def test_tokens_that_are_left_out_are_as_if_masked() -> None:
    engine = make_engine("llama")
    done = prefill(engine, "full", room=8)
    small = prefill(engine, "full", room=8, sparse=16)
    old, new = (one.buffer.keys[:, :, : one.buffer.length] for one in (done, small))
    seen = (old[:, :, :, None] == new[:, :, None]).all(-1).any(-1)
    assert (seen.sum(-1) == small.buffer.length).all()
    assert seen[:, :, : len(PREFIX)].all()
    assert seen[:, :, -len(SUFFIX) :].all()
    assert not torch.equal(seen[0, 0], seen[3, 1])
    done.plan = Only(seen)
    assert torch.allclose(behind(engine, small), behind(engine, done), atol=1e-4)


def test_each_head_keeps_the_blocks_that_are_read_most() -> None:
    context = torch.zeros(4 + 5 * BLOCK + 3, dtype=torch.bool)
    context[4 : 4 + 5 * BLOCK] = True
    weights = torch.full((1, 2, len(context)), 0.01)
    weights[0, 0, 4 + 3 * BLOCK + 5] = 1.0
    weights[0, 1, 4 + BLOCK] = 1.0
    kept = _kept(weights, context, BLOCK)
    for head, block in ((0, 3), (1, 1)):
        first = 4 + block * BLOCK
        assert kept[0, head].tolist() == [
            0, 1, 2, 3, *range(first, first + BLOCK), *range(len(context) - 3, len(context))
        ]  # fmt: skip


def test_the_needle_is_kept(llm: LocalLLM) -> None:
    filler = "The harbour office opens at eight and the ferry leaves from the second pier. " * 6
    needle = " The secret code of the old lighthouse is 4711-kestrel. "
    encode = llm.template.encode
    chunks = [encode(filler) for _ in range(5)]
    chunks[2] = [*encode(filler), *encode(needle), *encode(filler)]
    first = sum(map(len, chunks[:2])) + len(encode(filler))
    suffix = encode("\nWhat is the secret code of the old lighthouse?\nAnswer: The secret code is")
    prefix = encode("Answer the question from the sources.\n")
    total = sum(map(len, chunks))
    budget = total // 8
    settings = ReuseSettings("full", sparse=budget)
    whole = llm.engine.prefill(prefix, chunks, suffix, ReuseSettings("full"), 4)
    done = llm.engine.prefill(prefix, chunks, suffix, settings, 4)
    assert done.report.as_dict()["sparse"] == budget
    wanted = range(len(prefix) + first, len(prefix) + first + len(encode(needle)))
    found = torch.zeros(len(wanted))
    for at, slot in enumerate(wanted):
        same = done.buffer.keys[:, :, : done.buffer.length] == whole.buffer.keys[:, :, slot, None]
        found[at] = same.all(-1).any(-1).float().mean()
    assert float(found.mean()) > 3 * budget / total


def test_an_answer_says_what_it_attended_to(llm: LocalLLM) -> None:
    import asyncio

    from rag.models import Prompt, Sampling

    prompt = Prompt(
        "Who opens the lock?", chunks=("The keeper opens it. " * 20, "It is old. " * 20)
    )
    for sparse in (None, 40):
        numbers: dict[str, Any] = {} if sparse is None else {"sparse": sparse}
        reuse = ReuseSettings("prefix", **numbers)
        done = asyncio.run(llm.generate(prompt, Sampling(max_tokens=3), reuse))
        assert done.reuse is not None
        assert done.reuse["sparse"] == sparse


@pytest.mark.parametrize("wrong", [0, -3, "few"])
def test_a_budget_is_a_positive_number(wrong: object) -> None:
    with pytest.raises((ConfigError, ValueError), match="sparse"):
        ReuseSettings("focus", sparse=wrong)
