"""Rankings that a model wrote."""

from __future__ import annotations

import re

_ROW = re.compile(r"\[?\d{1,4}\]?(?:\s*>\s*\[?\d{1,4}\]?)+")


def permutation(text: str, count: int) -> list[int]:
    """Positions from 0, in the order in which a text names their numbers from 1.

    A row such as `2 > 1 > 3` counts before other numbers in the text. Numbers out of range and
    repeated ones are ignored; positions that are not named come last, in their order.
    """
    rows = _ROW.findall(text)
    named = [int(number) - 1 for number in re.findall(r"\d{1,4}", rows[-1] if rows else text)]
    return list(dict.fromkeys([*(at for at in named if 0 <= at < count), *range(count)]))
