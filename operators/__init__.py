"""The operators, in a folder for each module of Modular RAG (arXiv 2407.21059, section IV).

`from rag.operators import Rerank` imports that operator and no other. `CATALOGUE` maps the names
that pipeline files use to where the classes are.
"""

from importlib import import_module
from typing import Any

from rag.operators.catalogue import CATALOGUE


def __getattr__(name: str) -> Any:
    where = CATALOGUE.of_class(name)
    if where is None:
        raise AttributeError(f"module 'rag.operators' has no attribute {name!r}")
    return getattr(import_module(where.partition(":")[0]), name)


def __dir__() -> list[str]:
    return ["CATALOGUE", *sorted(where.partition(":")[2] for where in CATALOGUE.values())]
