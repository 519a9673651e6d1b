"""Sanitising: text from outside that cannot end a source or begin a turn of a chat template."""

from __future__ import annotations

import re
import unicodedata

_STRUCTURE = re.compile(
    r"""
    <[\s/\\]*(?:sources?[\d_]*|system|user|assistant|human|instructions?|question)\b
    | <[\s/\\]*(?:tool|function)[\s_-]?(?:calls?|responses?|results?|outputs?|use)\b
    | <\|                                     # <|im_end|>, <|eot_id|>
    | <\s*/?\s*(?:s|bos|eos|pad|unk|start_of_turn|end_of_turn|think)\s*>
    | <<\s*/?\s*SYS
    | \[\s*/?\s*(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_RESULTS|TOOL_CALLS)\s*\]
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""What would end the surrounding source, or begin a turn, if it were read as structure."""
_OPENINGS = "<["
"""What all of it begins with: a text without either, as most are, need not be searched."""
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


def harmless(text: str) -> str:
    """The text with a round bracket for each one that opens a delimiter or a special token.

    Delimiters and the special tokens of chat templates are recognised however they are written:
    with look-alike letters, full-width or invisible characters. All other text is unchanged, and
    so is the length.
    """
    plainly = {character: _folded(character) for character in set(text)}
    if not any(opening in plain for plain in plainly.values() for opening in _OPENINGS):
        return text
    folded: list[str] = []
    positions: list[int] = []  # in `text`, of each character of `folded`
    for position, character in enumerate(text):
        for plain in plainly[character]:
            folded.append(plain)
            positions.append(position)
    matches = list(_STRUCTURE.finditer("".join(folded)))
    if not matches:
        return text
    characters = list(text)
    for match in matches:
        characters[positions[match.start()]] = "("
    return "".join(characters)


def _folded(character: str) -> str:
    """What a character is read as; nothing if it is not seen."""
    plain = unicodedata.normalize("NFKC", character).translate(_ALIKE)
    return "".join(one for one in plain if one in "\n\t" or not _hidden(one))


def _hidden(character: str) -> bool:
    return character in _BLANK or unicodedata.category(character) in _INVISIBLE
