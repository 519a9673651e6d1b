"""Query construction: a metadata filter out of the question."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, PositiveInt, create_model

from rag.flow import RunContext
from rag.index import Index
from rag.models import LLM, Prompt
from rag.models.structured_output import described
from rag.operators.asking import Asking, fitting, told
from rag.prompts.sanitize import harmless

OURS = frozenset(
    {"start", "end", "chunk", "score", "scores", "id", "questions", "summary", "found_by"}
)
"""Metadata that say where a chunk stands or how it is found, not what it is."""
LONGEST = 80
"""Characters of a value that a model can be asked to choose."""


@dataclass(frozen=True, slots=True)
class _Limit:
    """What a field of the form says."""

    key: str
    operator: str
    """Of a filter."""
    name: str
    """What the model reads."""
    choice: Any
    """The type of its values."""


class ConstructQuery(Asking):
    """Limits the search to the documents that the question names (text to metadata filter).

    Modular RAG (Gao et al. 2024, arXiv 2407.21059, section IV-B, query construction). For
    questions that name a year, a department, a file. What can be filtered by is read off the
    index: texts with few values, truths and numbers. The model fills in a form of these; what it
    names that the index does not have cannot come out. LLM calls: 1, for a model that is not
    local up to 2.
    Reads `query`; writes `where`, which `dense` and `bm25` read; empty: no limit.
    Example: `{use: construct_query, keys: [path]}`
    """

    writes = "where"

    keys: tuple[str, ...] | None = Field(
        default=None, description="metadata keys; all if not given"
    )
    values: PositiveInt = Field(default=20, description="a text with more values is no choice")
    sample: PositiveInt = Field(default=2000, description="chunks looked at for the values")
    max_tokens: PositiveInt = Field(default=128, description="the model's answer at most")
    system: str = told("construct_query")

    async def run(self, query: str, *, llm: LLM, index: Index, ctx: RunContext) -> dict[str, Any]:
        """Ask for the limits; without an answer there are none."""
        form = self._form(index, ctx)
        if not query.strip() or not form.model_fields:
            return {}
        shown = llm.count(described(Prompt(""), form).question)
        prompt = fitting(llm, ctx, self.system, query, (), self.max_tokens + shown)
        found = await self._fill(llm, ctx, prompt, form)
        if found is None:
            ctx.warn("no filter could be read from the model's answer: everything is searched")
            return {}
        return _filter(found)

    def _form(self, index: Index, ctx: RunContext) -> type[BaseModel]:
        seen: dict[str, set[Any]] = defaultdict(set)
        left = self.sample
        for batch in index.batches(min(left, 500)):
            for document in batch:
                for key, value in document.metadata.items():
                    if isinstance(value, str | int | float):
                        seen[key].add(value)
            left -= len(batch)
            if left <= 0:
                break
        if unknown := [key for key in self.keys or () if key not in seen]:
            ctx.warn(f"no document has {', '.join(unknown)} in its metadata")
        unsayable = [key for key, values in seen.items() if not all(map(_sayable, (key, *values)))]
        for key in unsayable:
            del seen[key]
        keys = self.keys if self.keys is not None else sorted(seen.keys() - OURS)
        # Neutral names: what documents call their metadata may mean something to pydantic.
        fields: dict[str, Any] = {
            f"f{at}": (Annotated[limit.choice | None, limit], Field(None, alias=limit.name))
            for at, limit in enumerate(_limits(keys, seen, self.values))
        }
        return create_model("Limits", **fields)


def _sayable(value: Any) -> bool:
    """Whether a value of somebody's metadata may stand in the prompt: short, and no delimiter."""
    return not isinstance(value, str) or (len(value) <= LONGEST and harmless(value) == value)


def _limits(keys: Iterable[str], seen: Mapping[str, set[Any]], most: int) -> Iterator[_Limit]:
    """What can be limited: texts and truths by their values, numbers from and to.

    Args:
        keys: Of the metadata.
        seen: Key to its values.
        most: A text with more values is left out.
    """
    taken = set(seen)
    for key in keys:
        values = seen.get(key, set())
        kinds = {type(value) for value in values}
        if not key or key.startswith("$") or '"' in key:  # no filter can name it
            continue
        if kinds == {bool} and len(values) > 1:
            yield _Limit(key, "$eq", key, bool)
        elif kinds == {str} and 1 < len(values) <= most:
            yield _Limit(key, "$eq", key, Literal[tuple(sorted(values))])
        elif kinds and kinds <= {int, float}:
            name = key
            while {f"{name} from", f"{name} to"} & taken:
                name = f"{name} value"
            taken |= {f"{name} from", f"{name} to"}
            yield _Limit(key, "$gte", f"{name} from", float)
            yield _Limit(key, "$lte", f"{name} to", float)


def _filter(limits: BaseModel) -> dict[str, Any]:
    where: dict[str, Any] = {}
    for name, field in type(limits).model_fields.items():
        value = getattr(limits, name)
        for limit in field.metadata:
            if value is None or not isinstance(limit, _Limit):
                continue
            if limit.operator == "$eq":
                where[limit.key] = value
            else:
                where.setdefault(limit.key, {})[limit.operator] = value
    return where
