"""Order against forgetting: models read best what stands first and last."""

from __future__ import annotations

from langchain_core.documents import Document

from rag.flow import Operator


class Reorder(Operator):
    """Puts the best documents at both ends and the weakest in the middle.

    Models use the middle of a long context least (Liu et al. 2023, "Lost in the Middle",
    arXiv 2307.03172, section 2). For prompts of ten documents and more, as the last step before
    the answer: later steps no longer find the documents best first.
    Reads `documents`, best first; writes `documents`: first, third, fifth, ..., fourth, second.
    Example: `{use: reorder}`
    """

    writes = "documents"
    light = True

    def run(self, documents: list[Document]) -> list[Document]:
        """Reorder."""
        return [*documents[::2], *documents[1::2][::-1]]
