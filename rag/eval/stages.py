"""What a run retrieved, reranked and read, from its record."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_core.documents import Document

from rag.flow import Node, Operator, Place
from rag.flow.node import root_of, walk
from rag.operators.answering import AnswerOperator
from rag.prompts.layout import CLOSE, OPEN

if TYPE_CHECKING:
    from rag.flow import Flow
    from rag.flow.run.record import Occurrence, RunRecord

_SOURCE = re.compile(rf"{OPEN[:-1]}(?: \d+)?>(.*?){CLOSE}", re.DOTALL)


@dataclass(frozen=True)
class Stages:
    """How far documents came in a run.

    Attributes:
        retrieved: All that any step wrote, each text once.
        reranked: What the rerankers wrote; None: there is none, or none ran.
        given: The documents of the last step that answered, best first, before its model's window
            cut them; of a step that is given none, those that the run ends with.
        read: The sources in the prompts of the steps that answered; of steps without a model, the
            texts of their documents.
        prompts: What the models of these steps were sent, a text for each call.
    """

    retrieved: tuple[Document, ...] = ()
    reranked: tuple[Document, ...] | None = None
    given: tuple[Document, ...] = ()
    read: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()


def stages(flow: Flow, record: RunRecord) -> Stages:
    """The stages of a run, also of one that failed.

    Args:
        flow: What ran.
        record: Of the run.
    """
    known = dict(_steps(flow.walk()))
    steps = [(one, known.get(one.place.static)) for one in record.occurrences]
    reranking = [one for one, step in steps if step is not None and step.span_kind == "RERANKER"]
    answering = [one for one, step in steps if step is not None and _answers(step)]
    given: tuple[Document, ...] = ()
    for one in answering:
        given = tuple(_documents(one.inputs)) or given
    read, prompts = [], []
    # What checks an answer without a model, as `cite` does, reads for itself.
    for one in [one for one in answering if one.calls] or answering:
        sent = ["\n\n".join(message["content"] for message in call.prompt) for call in one.calls]
        prompts += sent
        read += [text for prompt in sent for text in _SOURCE.findall(prompt)]
        read += [] if sent else [document.page_content for document in _documents(one.inputs)]
        read += [
            message["content"]
            for call in one.calls for message in call.prompt if message["role"] == "tool"
        ]  # fmt: skip
    outputs = record.outputs or {}
    return Stages(
        retrieved=_unique(record.occurrences),
        reranked=_unique(reranking) if reranking else None,
        given=given or tuple(_documents({"documents": outputs.get("documents")})),
        read=tuple(dict.fromkeys(read)),
        prompts=tuple(prompts),
    )


def _steps(nodes: Iterable[tuple[Place, Node]]) -> Iterator[tuple[Place, Operator]]:
    """Places of steps, also of those that a step runs."""
    for place, node in nodes:
        if isinstance(node, Operator):
            yield place, node
            if (inner := node.inner()) is not None:
                yield from _steps(walk(inner, root_of(inner, place.call().static)))


def _answers(step: Operator) -> bool:
    """Whether a step writes an answer, or a sentence of one."""
    return isinstance(step, AnswerOperator) or "answer" in {
        port.name for port in step.signature().writes
    }


def _unique(occurrences: list[Occurrence]) -> tuple[Document, ...]:
    found: dict[str, Document] = {}
    for one in occurrences:
        for document in _documents(one.writes or {}):
            found.setdefault(document.page_content, document)
    return tuple(found.values())


def _documents(values: Any) -> Iterator[Document]:
    """The documents among a step's inputs or writes."""
    for value in values.values():
        if isinstance(value, list | tuple):
            yield from (one for one in value if isinstance(one, Document))
