"""What an agent has read: its sources, numbered for good, within the model's window."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from langchain_core.documents import Document

from rag.models import ToolCall, ToolTurn
from rag.operators.model_call import ModelCall
from rag.operators.prompting import DELIMITER, TURN
from rag.text.chunk import Chunk

LEAST = 48
"""Tokens of room below which nothing more is read."""
CHARACTERS = 16
"""Of a token at most, so that an endless text is cut before it is counted."""


class Reading:
    """The sources of one agent. What is found again keeps its number.

    A document whose sentences were selected for another query is another source.

    A result gets a third of the room that is left, so that some is left for the next one, and
    nothing that was read must be taken out of the prompt again.

    Args:
        call: The model, and the run that is warned.
        room: Tokens for everything that is read.
        most: Tokens of one result at most.
    """

    def __init__(self, call: ModelCall, room: int, most: int) -> None:
        self._call, self.room, self._most = call, room, most
        self.documents: list[Document] = []
        self._numbers: dict[str, int] = {}

    @property
    def full(self) -> bool:
        """Whether there is no room for more."""
        return self.room < LEAST

    def document(self, call: ToolCall, text: str) -> list[Document]:
        """The text that a tool gave as a document; none if it is empty."""
        if not text.strip():
            return []
        arguments = json.dumps(call.arguments, ensure_ascii=False)
        metadata = {"source": call.name, "title": f"{call.name} {arguments}"[:200]}
        return [Document(page_content=text, metadata=metadata)]

    def add(
        self, tool: str, documents: Sequence[Document]
    ) -> tuple[tuple[int, ...], dict[int, str], bool]:
        """Read what a tool found.

        Args:
            tool: Its name.
            documents: Best first.

        Returns:
            The numbers of the sources, the texts of those that are new, and whether something
            was left out.
        """
        numbers: list[int] = []
        new: dict[int, str] = {}
        room = min(self._most, self.room // 3)
        cut = False
        for document in documents:
            key = f"{document.id} {document.page_content}"
            if key in self._numbers:
                numbers.append(self._numbers[key])
                continue
            kept = self._fitting(document, room - DELIMITER)
            if kept is not document and new:
                cut = True
                break
            cut = kept is not document
            text = Chunk.of(kept).embedding_text
            size = self._call.llm.count(text) + DELIMITER
            room, self.room = room - size, self.room - size
            self.documents.append(kept)
            number = self._numbers[key] = len(self.documents)
            numbers.append(number)
            new[number] = text
            if cut:
                break
        if cut:
            shown = f"{len(new)} of {len(documents)} documents" if len(documents) > 1 else "a part"
            self._call.ctx.warn(f"the result of {tool} is cut to {shown}, for the model's window")
        return tuple(numbers), new, cut

    def forget(self, texts: Mapping[int, str]) -> None:
        """Take back the room of texts that the model is not shown after all."""
        self.room += sum(self._call.llm.count(one) + DELIMITER for one in texts.values())

    def charge(self, turn: ToolTurn) -> None:
        """Count what a turn takes of the window beside the sources that it gave."""
        texts = [turn.action.text, turn.action.reasoning]
        for result in turn.results:
            texts += [json.dumps(result.call.arguments), result.text, result.notes]
        self.room -= self._call.llm.count("\n".join(texts)) + TURN * (1 + len(turn.results))

    def _fitting(self, document: Document, tokens: int) -> Document:
        """The document, or its beginning if it is too long for so many tokens."""
        tokens = max(tokens, 1)
        begin = document.page_content[: CHARACTERS * tokens]
        head = len(Chunk.of(document).embedding_text) - len(document.page_content)
        tokens -= head // 4
        kept = self._call.llm.clip(begin, max(tokens, 1))
        if len(kept) == len(document.page_content):
            return document
        return document.model_copy(update={"page_content": kept})
