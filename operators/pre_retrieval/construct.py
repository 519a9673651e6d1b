"""Query construction: a metadata filter out of the question."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Literal

from pydantic import BaseModel, Field, PositiveInt, create_model
from rag.operators.asking import Asking, fitting, told

from rag.flow import Context
from rag.index import Index
from rag.llm import LLM, Sampling

OURS = frozenset({"start", "end", "chunk", "score", "scores", "id"})
"""Metadata that say where a chunk stands, not what it is."""


class ConstructQuery(Asking):
    """Limits the search to the documents that the question names (text to metadata filter).

    Modular RAG (Gao et al. 2024, arXiv 2407.21059, section IV-B, query construction). For
    questions that name a year, a department, a file. What can be filtered by is read off the
    index: texts with few values, and numbers. The model fills in a form of these; what it names
    that the index does not have cannot come out. LLM calls: 1.
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

    async def run(self, query: str, *, llm: LLM, index: Index, run: Context) -> dict[str, Any]:
        """Ask for the limits; without an answer there are none."""
        form = self._form(index)
        if not query.strip() or not form.model_fields:
            return {}
        run.spend(llm_calls=1)
        prompt = fitting(llm, run, self.system, query, (), self.max_tokens)
        found = await llm.structured(prompt, form, Sampling(max_tokens=self.max_tokens))
        if found is None:
            run.warn("no filter could be read from the model's answer: everything is searched")
            return {}
        return _filter(found)

    def _form(self, index: Index) -> type[BaseModel]:
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
        fields: dict[str, Any] = {}
        for key in self.keys if self.keys is not None else sorted(seen.keys() - OURS):
            values = seen.get(key, set())
            if values and all(isinstance(v, int | float) for v in values):
                for side in ("from", "to"):
                    fields[f"{key}_{side}"] = (float | None, Field(None, alias=f"{key} {side}"))
            elif 1 < len(values) <= self.values and all(isinstance(v, str) for v in values):
                choice: Any = Literal[tuple(sorted(values))]
                fields[key] = (choice | None, None)
        return create_model("Limits", **fields)


def _filter(limits: BaseModel) -> dict[str, Any]:
    where: dict[str, Any] = {}
    for name, value in limits.model_dump(by_alias=True).items():
        if value is None:
            continue
        key, _, side = name.rpartition(" ")
        if side in ("from", "to") and key:
            where.setdefault(key, {})["$gte" if side == "from" else "$lte"] = value
        else:
            where[name] = value
    return where
