"""A language model as LangChain's `BaseChatModel`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import InputTokenDetails, UsageMetadata
from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import RunnableMap, RunnablePassthrough
from langchain_core.utils.function_calling import convert_to_json_schema
from langchain_core.utils.pydantic import is_basemodel_subclass
from pydantic import Field, NonNegativeFloat, PositiveInt, PrivateAttr

from rag.connect.langchain.messages import prompt_of
from rag.errors import InputError
from rag.flow.resources import Resources
from rag.flow.run.runtime import RUNTIME
from rag.kvcache.settings import ReuseSettings
from rag.models.llm import LLM, Generation, Sampling
from rag.models.structured_output import described
from rag.prompts.prompt import Prompt

if TYPE_CHECKING:
    from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
    from langchain_core.language_models import LanguageModelInput
    from langchain_core.language_models.base import LangSmithParams
    from langchain_core.runnables import Runnable

PROVIDER = "rag"
OPTIONS = ("temperature", "max_tokens", "top_p", "seed", "reuse", "json_schema")
"""What a call, or `bind`, may give besides `stop`."""


@dataclass(frozen=True, slots=True)
class _Request:
    """One call of the model."""

    prompt: Prompt
    sampling: Sampling
    reuse: ReuseSettings | None
    json_schema: dict[str, Any] | None


class ChatLLM(BaseChatModel):
    """A language model, local or not, with the reuse of the states of documents.

    Blocks of the type `text-plain` in the last message are the prompt's documents: with `reuse`
    their states are taken from the chunk-KV cache. All fields but `model` may be given in a call
    or by `bind`.

    Raises:
        ConfigError: At the first call: `model` describes no language model.
        ModelError: The model cannot be opened or reached, or the prompt exceeds its window.
        InputError: The messages are not text, or a call has an unknown argument.
    """

    model: Any = Field(
        default=LLM.default,
        description="as `resources.llm` in a pipeline: a name, a mapping, or an open `LLM`",
    )
    temperature: NonNegativeFloat | None = Field(
        default=None, description="0: greedy decoding, which is a local model's default"
    )
    max_tokens: PositiveInt = Field(default=256, description="tokens of the answer at most")
    top_p: float | None = Field(
        default=None, gt=0, le=1, description="probability mass sampled from; default: all"
    )
    seed: int | None = Field(default=None, description="makes sampling repeatable")
    stop: list[str] | None = Field(default=None, description="texts that end the answer")
    reuse: ReuseSettings | None = Field(
        default=None, description="how the states of documents are composed; none: all computed"
    )
    _resources: Resources = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        """Keep what to open at the first call."""
        self._resources = Resources({"llm": self.model})

    @property
    def llm(self) -> LLM:
        """The language model, opened at first use.

        Raises:
            ConfigError: `model` describes none.
            ModelError: There is no such model, or it cannot be read.
        """
        return self._resources.get("llm", LLM)

    @property
    def model_name(self) -> str:
        """The model's name."""
        if isinstance(self.model, LLM):
            return self.model.id
        found = self.model.get("model", self.model) if isinstance(self.model, dict) else self.model
        return str(found)

    def close(self) -> None:
        """Close the model, if it was opened here."""
        self._resources.close()

    @property
    def _llm_type(self) -> str:
        return PROVIDER

    @property
    def _identifying_params(self) -> dict[str, Any]:
        fields = self.model_dump(mode="json", include={*OPTIONS, "stop"})
        return {"model": self.model_name, **fields}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop or self.stop, **kwargs)
        params["ls_provider"] = PROVIDER
        params.setdefault("ls_model_name", self.model_name)
        return params

    def get_num_tokens(self, text: str) -> int:
        """Tokens of a text, special tokens left out."""
        return self.llm.count(text)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return RUNTIME.run(self._answer(self._request(messages, stop, kwargs)))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return await self._answer(self._request(messages, stop, kwargs))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        yield from RUNTIME.iterate(self._chunks(self._request(messages, stop, kwargs)))

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        async with aclosing(self._chunks(self._request(messages, stop, kwargs))) as chunks:
            async for chunk in chunks:
                yield chunk

    def _request(
        self, messages: list[BaseMessage], stop: list[str] | None, given: dict[str, Any]
    ) -> _Request:
        for name in given.keys() - {*OPTIONS, "stop"}:
            raise InputError(
                f"a call of ChatLLM takes no {name!r}", fix=f"it takes: stop, {', '.join(OPTIONS)}"
            )
        fields = {name: getattr(self, name) for name in OPTIONS[:-1]} | given
        schema: dict[str, Any] | None = fields.pop("json_schema", None)
        reuse = fields.pop("reuse")
        if isinstance(reuse, dict):
            reuse = ReuseSettings(**reuse)
        prompt = prompt_of(messages, numbered=reuse is None)
        if schema is not None:
            prompt = described(prompt, schema, self.llm.prompt_set)
        texts = stop if stop is not None else self.stop or ()
        return _Request(prompt, Sampling(**fields, stop=tuple(texts)), reuse, schema)

    async def _answer(self, request: _Request) -> ChatResult:
        done = None
        if request.json_schema is not None:
            done = await self.llm.generate_json(
                request.prompt, request.json_schema, request.sampling
            )
        if done is None:
            done = await self.llm.generate(request.prompt, request.sampling, request.reuse)
        message = AIMessage(
            content=done.text,
            usage_metadata=_usage(done),
            response_metadata=self._metadata(done),
        )
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _chunks(self, request: _Request) -> AsyncGenerator[ChatGenerationChunk, None]:
        if request.json_schema is not None:  # an object is parsed when it is whole
            (whole,) = (await self._answer(request)).generations
            fields = whole.message.model_dump(
                include={"content", "usage_metadata", "response_metadata"}
            )
            yield ChatGenerationChunk(message=AIMessageChunk(**fields, chunk_position="last"))
            return
        pieces: Any = self.llm.stream(request.prompt, request.sampling, request.reuse)
        async with aclosing(pieces):
            async for piece in pieces:
                if isinstance(piece, str):
                    message = AIMessageChunk(content=piece)
                else:
                    message = AIMessageChunk(
                        content="",
                        usage_metadata=_usage(piece),
                        response_metadata=self._metadata(piece),
                        chunk_position="last",
                    )
                yield ChatGenerationChunk(message=message)

    def _metadata(self, done: Generation) -> dict[str, Any]:
        metadata = {
            "model_name": self.llm.id, "model_provider": PROVIDER, "finish_reason": done.finish,
        }  # fmt: skip
        return metadata if done.reuse is None else {**metadata, "reuse": done.reuse}

    def with_structured_output(
        self,
        schema: dict[str, Any] | type,
        *,
        include_raw: bool = False,
        method: str = "json_schema",
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """The model with answers that are objects of a schema.

        A local model's tokens are constrained by the schema, whatever `method` and `strict` say;
        where they cannot be (a remote model, no llguidance), the schema is described in the
        prompt and the answer is parsed.

        Args:
            schema: A pydantic model, a `TypedDict` or a JSON schema.
            include_raw: Return a mapping of `raw` (the message), `parsed` and `parsing_error`.
            method: One of LangChain's names; all are the same here.
            strict: As `method`.
            **kwargs: None are known.

        Returns:
            A runnable that gives an object of the pydantic model, or a `dict`. Raises
            `OutputParserException` if the answer was cut off.
        """
        json_schema = convert_to_json_schema(schema)
        kind: Any = schema
        parser: Any = (
            PydanticOutputParser(pydantic_object=kind)
            if isinstance(schema, type) and is_basemodel_subclass(schema)
            else JsonOutputParser()
        )
        shown = {"kwargs": {"method": method}, "schema": json_schema}
        bound = self.bind(json_schema=json_schema, ls_structured_output_format=shown)
        plain: Runnable[LanguageModelInput, Any] = bound | parser
        if not include_raw:
            return plain
        parsed = RunnablePassthrough.assign(
            parsed=lambda found: parser.invoke(found["raw"]), parsing_error=lambda _: None
        )
        failed = RunnablePassthrough.assign(parsed=lambda _: None)
        answered: Runnable[LanguageModelInput, Any] = RunnableMap(raw=bound)
        return answered | parsed.with_fallbacks([failed], exception_key="parsing_error")


def _usage(done: Generation) -> UsageMetadata:
    """The tokens of a call; what the cache had of the prompt is `cache_read`."""
    usage = UsageMetadata(
        input_tokens=done.prompt_tokens,
        output_tokens=done.completion_tokens,
        total_tokens=done.prompt_tokens + done.completion_tokens,
    )
    if done.reuse is not None:
        usage["input_token_details"] = InputTokenDetails(cache_read=int(done.reuse["reused"]))
    return usage
