"""How the parts of a prompt become chat messages, the same for every model."""

from __future__ import annotations

import re
import unicodedata

from rag.models.base import Prompt

Parts = tuple[list[int], list[list[int]], list[int]]
"""A prompt's token ids: before the chunks, of each chunk, behind them."""
OPEN, CLOSE = "<source>", "</source>"
_STRUCTURE = re.compile(
    r"""
    <[\s/\\]*(?:sources?[\d_]*|system|user|assistant|human|instructions?|question)\b
    | <\|                                     # <|im_end|>, <|eot_id|>
    | <\s*/?\s*(?:s|bos|eos|pad|unk|start_of_turn|end_of_turn|think)\s*>
    | <<\s*/?\s*SYS
    | \[\s*/?\s*(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_RESULTS|TOOL_CALLS)\s*\]
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""What would end the source that it stands in, or begin a turn, were it read as such."""
_ALIKE = {
    ord(twin): plain
    for plain, twins in {
        "<": "\u2039\u27e8\u3008\u2329\u276e\u29fc\u02c2\u1438\u2770\uff1c",
        ">": "\u203a\u27e9\u3009\u232a\u276f\u29fd\u02c3\u1433\u2771\uff1e",
        "/": "\u2215\u2044\u29f8\u2571\u3033",
        "|": "\u01c0\u2223\u2758\u23d0\u2502\uffe8",
        "a": "\u0430\u03b1",
        "c": "\u0441\u03f2",
        "e": "\u0435\u0454",
        "h": "\u04bb",
        "i": "\u0456\u03b9",
        "m": "\u043c",
        "n": "\u0578",
        "o": "\u043e\u03bf\u0585",
        "q": "\u051b",
        "r": "\u0433",
        "s": "\u0455\ua731",
        "t": "\u0442\u03c4",
        "u": "\u03c5\u057d\u1d1c",
        "y": "\u0443\u04af",
    }.items()
    for twin in twins
}
"""Characters that look like those of a delimiter: brackets, strokes, Cyrillic and Greek letters."""

_INVISIBLE = frozenset(("Cf", "Mn", "Me", "Cc", "Cn"))
_BLANK = "\u115f\u1160\u2800\U0001d159"
"""Letters and symbols that show nothing: fillers of Hangul, the empty Braille cell, a null note."""


def messages(prompt: Prompt) -> list[tuple[str, str]]:
    """The prompt as (role, text) pairs: system, history, then sources and question."""
    return [(role, "".join(pieces)) for role, pieces in pieces_of(prompt)]


def pieces_of(prompt: Prompt) -> list[tuple[str, list[str]]]:
    """As `messages`, each text in pieces: in the last one, every chunk is a piece of its own."""
    found: list[tuple[str, list[str]]] = []
    if prompt.system:
        found.append(("system", [prompt.system]))
    found.extend((role, [text]) for role, text in prompt.history)
    if not prompt.chunks:
        found.append(("user", [prompt.question]))
        return found
    # A number would make a chunk's text depend on its place: its states could not be reused.
    chunks = [
        delimited(chunk, n if prompt.numbered else None)
        for n, chunk in enumerate(prompt.chunks, start=1)
    ]
    found.append(("user", ["Sources:\n\n", *chunks, f"Question: {prompt.question}"]))
    return found


def delimited(chunk: str, number: int | None = None) -> str:
    """A source between delimiters that nothing in its text can close."""
    opening = OPEN if number is None else f"{OPEN[:-1]} {number}>"
    return f"{opening}\n{harmless(chunk.strip())}\n{CLOSE}\n\n"


def harmless(text: str) -> str:
    """The text with a round bracket for each one that opens a delimiter or a chat template's token.

    Delimiters are recognised however they are written: with look-alike letters, full-width or
    invisible characters. All other text stays as it is.
    """
    seen: list[str] = []
    places: list[int] = []
    for place, character in enumerate(text):
        for plain in unicodedata.normalize("NFKC", character).translate(_ALIKE):
            if plain in "\n\t" or not _hidden(plain):
                seen.append(plain)
                places.append(place)
    found = [places[match.start()] for match in _STRUCTURE.finditer("".join(seen))]
    if not found:
        return text
    characters = list(text)
    for place in found:
        characters[place] = "("
    return "".join(characters)


def _hidden(character: str) -> bool:
    return character in _BLANK or unicodedata.category(character) in _INVISIBLE


def length(parts: Parts) -> int:
    """Tokens of a prompt."""
    return len(parts[0]) + sum(map(len, parts[1])) + len(parts[2])
