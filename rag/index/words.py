"""The words that BM25 counts, the same in every store."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from rag.text.scripts import UNSPACED
from rag.text.surrogates import escape_surrogates

K1, B = 1.2, 0.75
"""BM25's constants: how soon further occurrences of a word add little, and how much length counts
(Robertson and Zaragoza 2009, section 3.5)."""

_UNSPACED = re.compile(f"([{UNSPACED}])")  # each character counts as a word


def words_of(text: str) -> list[str]:
    """The words of a text as they are counted: lower case, stems, without stop words."""
    found: list[str] = analyzer().analyze(spaced(text))
    return found


def spaced(text: str) -> str:
    """The text with spaces around the characters of scripts that write none."""
    return _UNSPACED.sub(r" \1 ", escape_surrogates(text))


@cache
def analyzer() -> Any:
    """What finds the words of a text that is `spaced`: Tantivy's, for English."""
    from tantivy import Filter, TextAnalyzerBuilder, Tokenizer

    builder = TextAnalyzerBuilder(Tokenizer.simple())
    for step in (
        Filter.remove_long(40),
        Filter.lowercase(),
        Filter.ascii_fold(),
        Filter.stopword("english"),
        Filter.stemmer("english"),
    ):
        builder = builder.filter(step)
    return builder.build()
