"""A query extended by the answer so far."""

from __future__ import annotations

from rag.flow import Operator
from rag.text.abstention import refuses


class ExtendQuery(Operator):
    """Appends the answer so far to the query (ITER-RETGEN, Shao et al. 2023, arXiv 2305.15294).

    For questions whose answer names what must be looked up next. No LLM call.
    Reads `query` and, if present, `answer`; writes `search`: both together, or
    the query alone if the model declined to answer.
    Example: `{use: extend_query}`
    """

    writes = "search"
    light = True

    def run(self, query: str, answer: str = "") -> str:
        """Query and answer, separated by a space (section 3.1 of the paper)."""
        return query if refuses(answer) else f"{query} {answer}".strip()
