"""Ranges of characters, for classes of regular expressions: scripts without spaces, and marks."""

from __future__ import annotations

LETTERS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
"""Thai, Lao, Burmese, Khmer: letters without spaces between words."""
IDEOGRAMS = "\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Japanese, Chinese: one or two characters are a word."""
UNSPACED = LETTERS + IDEOGRAMS
"""What is written without spaces between words."""
MARKS = "\u0300-\u036f\u0900-\u0963\u0966-\u0dff"
"""Combining accents and Indic vowel signs: parts of words that `\\w` leaves out."""
