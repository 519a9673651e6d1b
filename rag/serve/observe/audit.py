"""The audit log: who asked, uploaded and deleted what, a line each.

The lines go to the logger `rag.audit`. They hold ids and names, and no text of questions unless a
setting says so.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any, Literal

from rag.serve.observe.exchange import CURRENT

if TYPE_CHECKING:
    from rag.serve.runs.table import ServedRun

log = logging.getLogger("rag.audit")

Deed = Literal[
    "ask",
    "embed",
    "upload",
    "delete_document",
    "delete_conversation",
    "delete_response",
    "delete_conversations",
    "delete_run",
    "delete_feedback",
    "add_key",
    "revoke_key",
]


def asked(user: str, run: ServedRun, query: str | None, instead_of: int | None) -> None:
    """Write the line of a question, which the access log has with its request.

    Args:
        user: Who asks.
        run: The run that answers.
        query: The question's text, where the line may hold it.
        instead_of: Number of the earlier question that is deleted, with what followed it.
    """
    exchange = CURRENT.get()
    if exchange is not None:
        exchange.run = run
    more = {"conversation": run.conversation, "instead_of": instead_of, "query": query}
    about = {name: value for name, value in more.items() if value is not None}
    audit("ask", user, run=run.id, pipeline=run.pipeline, **about)


def audit(deed: Deed, user: str, **about: Any) -> None:
    """Write a line.

    Args:
        deed: What was done.
        user: Who did it; or whose it was, where a line says `by` whom it was done.
        about: What it was done to: ids, names, numbers.
    """
    if not log.isEnabledFor(logging.INFO):
        return
    exchange = CURRENT.get()
    if exchange is not None and exchange.client is not None:
        about["client"] = exchange.client
    fields = {"deed": deed, "user": user, **about}
    log.info("%s", json.dumps(fields, ensure_ascii=True), extra=fields)
