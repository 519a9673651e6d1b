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
    "upload",
    "delete_document",
    "delete_conversation",
    "delete_response",
    "delete_conversations",
]


def asked(user: str, run: ServedRun, conversation: str | None, query: str | None) -> None:
    """Write the line of a question, which the access log has with its request.

    Args:
        user: Who asks.
        run: The run that answers.
        conversation: The one that the question continues.
        query: Its text, where the line may hold it.
    """
    exchange = CURRENT.get()
    if exchange is not None:
        exchange.run = run
    more = {"conversation": conversation, "query": query}
    about = {name: value for name, value in more.items() if value is not None}
    audit("ask", user, run=run.id, pipeline=run.pipeline, **about)


def audit(deed: Deed, user: str, **about: Any) -> None:
    """Write a line.

    Args:
        deed: What was done.
        user: Who did it, or whose it was.
        about: What it was done to: ids, names, numbers.
    """
    exchange = CURRENT.get()
    if exchange is not None and exchange.client is not None:
        about["client"] = exchange.client
    fields = {"deed": deed, "user": user, **about}
    log.info("%s", json.dumps(fields, ensure_ascii=True), extra=fields)
