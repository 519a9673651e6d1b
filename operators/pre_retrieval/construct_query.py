"""Query construction: a metadata filter from the question."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, PositiveInt, create_model

from rag.flow import Operator, RunContext
from rag.index import Index
from rag.models import LLM, Prompt, Sampling
from rag.models.structured_output import described
from rag.operators.model_call import ModelCall
from rag.operators.prompting import fit_prompt, limit, limit_field, prompt_field
from rag.prompts.sanitize import harmless

OURS = frozenset(
    {"start", "end", "chunk", "score", "scores", "id", "questions", "summary", "found_by"}
)
"""Metadata of chunking and retrieval, which say nothing about the document."""
LONGEST = 80
"""Characters of a value that is offered to the model."""


@dataclass(frozen=True, slots=True)
class _Condition:
    """A condition that the model can set: a field of the schema that it fills in."""

    key: str
    operator: str
    """Of a filter: `$eq`, `$gte`, `$lte`."""
    name: str
    """Of the field in the schema."""
    type: Any
    """Of its values."""


class ConstructQuery(Operator):
    """Restricts the search to the documents that the question names (self-query).

    Modular RAG (Gao et al. 2024, arXiv 2407.21059, section IV-B, query construction). For
    questions that name a year, a department, a file. The schema of the filter is read off the
    index: strings with few values, booleans and numbers. The model fills it in, so it can only
    name values that the index has. LLM calls: 1, or up to 2 for a model that is not local.
    Reads `query`; writes `where`, which `dense` and `bm25` read; empty: no restriction.
    Example: `{use: construct_query, keys: [path]}`
    """

    writes = "where"
    span_kind = "LLM"

    keys: tuple[str, ...] | None = Field(default=None, description="metadata keys; default: all")
    values: PositiveInt = Field(
        default=20, description="a string key with more distinct values is left out"
    )
    sample: PositiveInt = Field(default=2000, description="chunks read to collect the values")
    max_tokens: PositiveInt | None = limit_field(128)
    system: str | None = prompt_field("construct_query")

    async def run(self, query: str, *, llm: LLM, index: Index, ctx: RunContext) -> dict[str, Any]:
        """The filter; empty if the model returns none."""
        schema = self._schema(index, ctx)
        if not query.strip() or not schema.model_fields:
            return {}
        call = ModelCall(llm, ctx)
        shown = llm.count(described(Prompt(""), schema.model_json_schema(), call.texts).question)
        system = self.system or call.texts["construct_query"].text
        tokens = limit(call, self.max_tokens, 128)
        prompt = fit_prompt(call, system, query, (), tokens + shown)
        found = await call.structured(prompt, schema, Sampling(max_tokens=tokens))
        if found is None:
            ctx.warn("the model's output is no filter: everything is searched")
            return {}
        return _filter(found)

    def _schema(self, index: Index, ctx: RunContext) -> type[BaseModel]:
        seen: dict[str, set[Any]] = defaultdict(set)
        left = self.sample
        for batch in index.batches(min(left, 500)):
            for chunk in batch:
                for key, value in chunk.metadata.items():
                    if isinstance(value, str | int | float):
                        seen[key].add(value)
            left -= len(batch)
            if left <= 0:
                break
        if unknown := [key for key in self.keys or () if key not in seen]:
            ctx.warn(f"no document has {', '.join(unknown)} in its metadata")
        unsafe = [key for key, values in seen.items() if not all(map(_safe, (key, *values)))]
        for key in unsafe:
            del seen[key]
        keys = self.keys if self.keys is not None else sorted(seen.keys() - OURS)
        # Neutral names: the documents' metadata keys may mean something to pydantic.
        fields: dict[str, Any] = {
            f"f{at}": (Annotated[one.type | None, one], Field(None, alias=one.name))
            for at, one in enumerate(_conditions(keys, seen, self.values))
        }
        return create_model("Filter", **fields)


def _safe(value: Any) -> bool:
    """Whether a metadata value may be in the prompt: short, and without delimiters."""
    return not isinstance(value, str) or (len(value) <= LONGEST and harmless(value) == value)


def _conditions(
    keys: Iterable[str], seen: Mapping[str, set[Any]], most: int
) -> Iterator[_Condition]:
    """The possible conditions: equality for strings and booleans, ranges for numbers.

    Args:
        keys: Metadata keys.
        seen: Key to its values.
        most: A string key with more values is left out.
    """
    taken = set(seen)
    for key in keys:
        values = seen.get(key, set())
        kinds = {type(value) for value in values}
        if not key or key.startswith("$") or '"' in key:  # no filter can name it
            continue
        if kinds == {bool} and len(values) > 1:
            yield _Condition(key, "$eq", key, bool)
        elif kinds == {str} and 1 < len(values) <= most:
            yield _Condition(key, "$eq", key, Literal[tuple(sorted(values))])
        elif kinds and kinds <= {int, float}:
            name = key
            while {f"{name} from", f"{name} to"} & taken:
                name = f"{name} value"
            taken |= {f"{name} from", f"{name} to"}
            yield _Condition(key, "$gte", f"{name} from", float)
            yield _Condition(key, "$lte", f"{name} to", float)


def _filter(filled_in: BaseModel) -> dict[str, Any]:
    where: dict[str, Any] = {}
    for name, field in type(filled_in).model_fields.items():
        value = getattr(filled_in, name)
        for one in field.metadata:
            if value is None or not isinstance(one, _Condition):
                continue
            if one.operator == "$eq":
                where[one.key] = value
            else:
                where.setdefault(one.key, {})[one.operator] = value
    return where
