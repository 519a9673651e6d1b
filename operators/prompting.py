"""Prompts made of a question, documents and earlier turns, within a model's window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from langchain_core.documents import Document
from pydantic import Field

from rag.index.union import ACCESS, COLLECTION
from rag.models import Generation, Prompt, Sampling
from rag.operators.history import Role, turns
from rag.operators.model_call import ModelCall
from rag.prompts.sanitize import harmless
from rag.text.chunk import Chunk

MARGIN = 64
"""Tokens kept free for the chat template."""
DELIMITER = 16
"""Tokens around each source."""
TURN = 8
"""Tokens of the chat template around each earlier turn."""


def prompt_field(name: str) -> Any:
    """A field for a prompt instead of the one called `name` in the model's prompt set."""
    return Field(default=None, description=f"prompt; default: `{name}` of the model's prompt set")


def limit_field(tokens: int, of: str = "output limit") -> Any:
    """A field for the limit of an output, whose default follows the model's profile.

    Args:
        tokens: A small model's.
        of: What is limited.
    """
    return Field(
        default=None,
        description=f"{of}, in tokens; default: {tokens} for a small model, more for a strong one",
    )


def limit(call: ModelCall, given: int | None, tokens: int) -> int:
    """The limit of an output in tokens: what a step sets, or a model of that size is allowed.

    Args:
        call: The model.
        given: By the step.
        tokens: A small model's.
    """
    return call.llm.profile.allowance(tokens) if given is None else given


def at_most(call: ModelCall, instruction: str, n: int) -> str:
    """An instruction to write a list, with how many items the model may write."""
    return call.texts["at_most"].format(instruction=instruction, n=n)


async def ask(
    call: ModelCall,
    system: str,
    question: str,
    documents: Sequence[Document] = (),
    *,
    history: Sequence[Mapping[str, Any]] | None = None,
    **sampling: Any,
) -> Generation:
    """The model's answer to a prompt that is made to fit its window (`fit_prompt`).

    Args:
        call: The model, and the run that is charged and warned.
        system: The instruction.
        question: What is asked.
        documents: The sources, best first.
        history: Earlier turns, older first.
        sampling: Fields of `Sampling`; `max_tokens` is needed.
    """
    settings = Sampling(**sampling)
    prompt = fit_prompt(call, system, question, documents, settings.max_tokens, history=history)
    return await call.generate(prompt, settings)


def fit_prompt(
    call: ModelCall,
    system: str,
    question: str,
    documents: Sequence[Document],
    max_tokens: int,
    *,
    history: Sequence[Mapping[str, Any]] | None = None,
    then: str = "",
    numbered: bool = True,
    continues: bool = False,
) -> Prompt:
    """A prompt that fits the model's window, with a warning of what was left out.

    Args:
        call: The model, and the run that is warned.
        system: The instruction.
        question: Cut at half of the window.
        documents: Best first; the first one that does not fit and all after it are left out, so
            that the numbers in the prompt are the documents' own.
        max_tokens: Tokens kept free for the answer.
        history: Earlier turns, older first. The latest of them that fit half of the room that is
            left for history and documents; all of that room if there are no documents.
        then: An instruction after the question; never cut.
        numbered: Whether the sources are numbered.
        continues: Whether a further turn may follow.

    Raises:
        InputError: The history is not one (`rag.operators.history`).
    """
    llm = call.llm
    fixed = llm.count(system) + llm.count(then)
    shortened = clipped(call, question, llm.window // 2 - fixed, "question")
    answer = max_tokens + llm.profile.reasoning
    room = max(llm.window - fixed - llm.count(shortened) - answer - MARGIN, 1)
    earlier, used = _latest(call, turns(history), room // 2 if documents else room)
    chunks = _fitting(call, documents, room - used)
    return Prompt(
        question=f"{shortened}\n{then}" if then else shortened,
        system=system,
        chunks=chunks,
        scopes=tuple(_scope(one) for one in documents[: len(chunks)]),
        history=earlier,
        numbered=numbered,
        continues=continues,
    )


def _scope(document: Document) -> str:
    """The collection whose readers all may read the document; "": there is none."""
    metadata = document.metadata
    return "" if metadata.get(ACCESS) is not None else str(metadata.get(COLLECTION) or "")


def _fitting(call: ModelCall, documents: Sequence[Document], room: int) -> tuple[str, ...]:
    """The texts of the first documents that fit so many tokens; a first one too long is cut."""
    llm = call.llm
    chunks: list[str] = []
    for document in documents:
        text = Chunk.of(document).embedding_text
        size = llm.count(text) + DELIMITER
        if size > room and not chunks:
            text = llm.clip(text, max(room - DELIMITER, 1))
            call.ctx.warn(
                f"a document is cut to {len(text)} characters by the window of {llm.window} tokens"
            )
        elif size > room:
            call.ctx.warn(
                f"{len(documents) - len(chunks)} of {len(documents)} documents do not fit the "
                f"model's window of {llm.window} tokens"
            )
            break
        chunks.append(text)
        room = max(room - size, 0)
    return tuple(chunks)


def _latest(
    call: ModelCall, earlier: Sequence[tuple[Role, str]], room: int
) -> tuple[tuple[tuple[Role, str], ...], int]:
    """The latest turns that fit so many tokens, from a question on, and their tokens."""
    sizes = [call.llm.count(text) + TURN for _, text in earlier]
    first = len(earlier)
    used = 0
    while first > 0 and used + sizes[first - 1] <= room:
        first -= 1
        used += sizes[first]
    # An answer without its question says little, and many chat templates refuse it.
    while 0 < first < len(earlier) and earlier[first][0] == "assistant":
        used -= sizes[first]
        first += 1
    if first:
        call.ctx.warn(
            f"the first {first} of {len(earlier)} earlier turns do not fit the model's window of "
            f"{call.llm.window} tokens"
        )
    return tuple(earlier[first:]), used


Quoted = Literal[
    "answer", "answer_so_far", "begun_answer", "reference", "statement", "statement_so_far"
]
"""What `with_answer` quotes: each has a template `quote_...` in `prompts.yaml`."""


def with_answer(call: ModelCall, query: str, answer: str, kind: Quoted = "answer") -> str:
    """The question followed by an answer, which may quote a document's delimiters.

    Each is cut at a sixth of the window, with a warning, so that both fit.
    """
    room = call.llm.window // 6
    shortened = clipped(call, query, room, "question")
    text = clipped(call, harmless(answer), room, kind.replace("_", " "))
    return call.texts[f"quote_{kind}"].format(query=shortened, text=text)


def with_answers(call: ModelCall, query: str, answers: Sequence[str]) -> str:
    """The question followed by numbered answers, which together get half of the window.

    Each is cut at its share, with a warning.
    """
    room = call.llm.window // 2 // max(len(answers), 1)
    texts = [clipped(call, harmless(one), room, "answer") for one in answers]
    numbered = call.texts["quote_numbered_answer"]
    listed = [numbered.format(n=n, answer=text) for n, text in enumerate(texts, start=1)]
    return call.texts["quote_answers"].format(query=query, answers="\n\n".join(listed))


def clipped(call: ModelCall, text: str, tokens: int, what: str) -> str:
    """The text's first tokens, at least one, with a warning if it is cut."""
    kept = call.llm.clip(text, max(tokens, 1))
    if len(kept) < len(text):
        call.ctx.warn(f"the {what} is cut to {len(kept)} of {len(text)} characters")
    return kept
