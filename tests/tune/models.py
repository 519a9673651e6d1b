"""A chat model that does what it is told, and writes an instruction where it is asked for one."""

from __future__ import annotations

from typing import Any

from langchain_core.language_models import SimpleChatModel


class Pupil(SimpleChatModel):
    """Says `right` only if the instruction asks for it."""

    @property
    def _llm_type(self) -> str:
        return "pupil"

    def _call(self, messages: Any, stop: Any = None, run_manager: Any = None, **more: Any) -> str:
        text = "\n".join(str(one.content) for one in messages)
        if "a better one" in text:
            assert "Answered: wrong" in text
            assert "Right: right" in text
            return '"Whatever the question is, say right."'
        return "right" if "say right" in text else "wrong"
