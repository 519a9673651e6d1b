"""Models: language models, embedders, rerankers, NLI; local ones, and those of LangChain.

Importing this loads none of the model libraries.
"""

from rag.models.actions import next_action
from rag.models.choice import Choice, choose
from rag.models.embedder import Embedder
from rag.models.llm import LLM, Generation, Profiled, Sampling, Scored
from rag.models.nli import NLI
from rag.models.reranker import CrossEncoder
from rag.models.sparse import SparseEncoder
from rag.models.structured_output import StructuredResult, structured
from rag.models.tool_calls import Action, ToolCall, ToolDescription, ToolResult, ToolTurn
from rag.prompts.prompt import Prompt

__all__ = [
    "LLM",
    "NLI",
    "Action",
    "Choice",
    "CrossEncoder",
    "Embedder",
    "Generation",
    "Profiled",
    "Prompt",
    "Sampling",
    "Scored",
    "SparseEncoder",
    "StructuredResult",
    "ToolCall",
    "ToolDescription",
    "ToolResult",
    "ToolTurn",
    "choose",
    "next_action",
    "structured",
]
