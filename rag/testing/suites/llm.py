"""What holds for every language model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, cast

import pytest

from rag.errors import InputError, ModelError
from rag.models.llm import LLM, Generation, Sampling
from rag.prompts.prompt import Prompt

PROMPT = Prompt(
    "When does it open?", "You keep a canal.", ("The lock opens at six.", "A pump lifts.")
)
SHORT = Sampling(max_tokens=8)


class LLMSuite:
    """Tests of a language model. Subclass it in a test module, and override `llm`.

    Attributes:
        exact_tokens: Whether `count` counts the model's own tokens: False for estimates.
        deterministic: Whether temperature 0 gives the same answer again.
        stops: Whether the model heeds `Sampling.stop`.
    """

    exact_tokens: bool = True
    deterministic: bool = True
    stops: bool = True

    @pytest.fixture
    def llm(self) -> LLM:
        """The model that is tested; it answers any prompt with some text."""
        raise NotImplementedError("override the fixture llm")

    def pieces(self, llm: LLM, sampling: Sampling = SHORT) -> tuple[list[str], Generation]:
        """What a stream gives."""

        async def main() -> list[Any]:
            return [piece async for piece in llm.stream(PROMPT, sampling)]

        *texts, last = asyncio.run(main())
        assert isinstance(last, Generation), "a stream ends with a Generation"
        assert all(isinstance(text, str) for text in texts)
        return texts, last

    def test_a_stream_ends_with_the_whole_answer(self, llm: LLM) -> None:
        """Pieces first, then the `Generation` that is made of them."""
        texts, last = self.pieces(llm)
        assert "".join(texts) == last.text
        assert last.text
        assert last.finish in ("stop", "length")

    def test_tokens_are_counted(self, llm: LLM) -> None:
        """Of the prompt and of the answer, which is no longer than allowed."""
        for most in (1, 8):
            _, last = self.pieces(llm, Sampling(max_tokens=most))
            assert last.prompt_tokens > 0
            assert 0 < last.completion_tokens <= most or not self.exact_tokens

    def test_an_answer_at_once_is_the_streamed_one(self, llm: LLM) -> None:
        """`generate` and `stream`."""
        _, last = self.pieces(llm)
        done = asyncio.run(llm.generate(PROMPT, SHORT))
        assert done.text
        assert done.text == last.text or not self.deterministic

    def test_a_stop_text_ends_the_answer(self, llm: LLM) -> None:
        """It is not part of it."""
        _, whole = self.pieces(llm)
        middle = whole.text[len(whole.text) // 2 :][:2]
        _, cut = self.pieces(llm, Sampling(max_tokens=8, stop=(middle,)))
        assert middle not in cut.text or not self.stops

    def test_texts_are_counted_and_clipped(self, llm: LLM) -> None:
        """A clipped text is a beginning of at most so many tokens."""
        text = "The lock opens at six in the morning, from April to October. \u00e4\U0001f512"
        assert llm.count("") == 0
        assert 0 < llm.count("lock") <= llm.count(text)
        assert llm.clip(text, 10_000) == text
        for tokens in (0, 1, 5):
            clipped = llm.clip(text, tokens)
            assert text.startswith(clipped)
            assert llm.count(clipped) <= tokens or not self.exact_tokens

    def test_calls_at_once_do_not_mix(self, llm: LLM) -> None:
        """Each gets its own whole answer."""

        async def main() -> list[Generation]:
            return await asyncio.gather(*(llm.generate(PROMPT, SHORT) for _ in range(3)))

        answers = asyncio.run(main())
        assert all(one.text for one in answers)
        assert len({one.text for one in answers}) == 1 or not self.deterministic

    def test_a_closed_stream_stops(self, llm: LLM) -> None:
        """And the model answers the next call."""

        async def main() -> Generation:
            stream = cast("AsyncGenerator[str | Generation, None]", llm.stream(PROMPT, SHORT))
            await anext(stream)
            await stream.aclose()
            return await llm.generate(PROMPT, SHORT)

        assert asyncio.run(main()).text

    def test_log_probabilities_or_a_clear_error(self, llm: LLM) -> None:
        """Of answers and of the tokens of an own answer, where the model returns them."""
        if not llm.supports_logprobs:
            with pytest.raises(ModelError):
                asyncio.run(llm.score(PROMPT, ["Yes", "No"]))
            return
        found = asyncio.run(llm.score(PROMPT, ["Yes", "No"]))
        assert len(found) == 2
        assert all(one.logprobs and one.total <= 0 for one in found)
        with pytest.raises(InputError):
            asyncio.run(llm.score(PROMPT, [""]))
        _, last = self.pieces(llm, Sampling(max_tokens=8, logprobs=True))
        if last.logprobs is not None:
            assert "".join(text for text, _ in last.logprobs) == last.text
            assert all(one <= 0 for _, one in last.logprobs)

    def test_an_object_fits_its_schema_or_is_none(self, llm: LLM) -> None:
        """None where the model's tokens cannot be constrained."""
        schema = {"type": "object", "properties": {"a": {"enum": ["x"]}}, "required": ["a"]}
        sampling = Sampling(max_tokens=32)
        done = asyncio.run(llm.generate_json(PROMPT, schema, sampling))
        assert done is None or done.text

    def test_it_has_a_name(self, llm: LLM) -> None:
        """Records and messages name it; a cached answer depends on its version."""
        assert llm.id
        assert llm.window > 0
        assert llm.version() == llm.version()
