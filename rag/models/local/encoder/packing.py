"""Texts in one row, one behind the other, so that no padding is computed.

The idea of ByteTransformer (Zhai et al. 2022, arXiv 2210.03052): all that is computed of each token
by itself sees one long row; only attention must know where a text ends. Here texts of one length
stand together, so that attention is computed over a plain batch of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Group:
    """Texts of one length in a row.

    Attributes:
        start: The place of their first token in the row.
        count: Texts.
        length: Tokens of each.
    """

    start: int
    count: int
    length: int

    @property
    def end(self) -> int:
        """The place behind their last token."""
        return self.start + self.count * self.length


@dataclass(frozen=True, slots=True)
class Row:
    """Texts that go through an encoder together.

    Attributes:
        texts: Their places in what was packed, in the order of the row.
        groups: Those of one length each, the longest first.
    """

    texts: list[int]
    groups: list[Group]


def pack(lengths: Sequence[int], room: int) -> Iterator[Row]:
    """Share texts out among rows, like lengths together.

    Args:
        lengths: Tokens of each text, none of them 0.
        room: Tokens of a row; a single longer text has a row of its own.
    """
    waiting: list[int] = []
    total = 0
    for text in sorted(range(len(lengths)), key=lambda at: -lengths[at]):
        if waiting and total + lengths[text] > room:
            yield _row(waiting, lengths)
            waiting, total = [], 0
        waiting.append(text)
        total += lengths[text]
    if waiting:
        yield _row(waiting, lengths)


def _row(texts: list[int], lengths: Sequence[int]) -> Row:
    groups: list[Group] = []
    start = 0
    for text in texts:
        length = lengths[text]
        if groups and groups[-1].length == length:
            groups[-1] = Group(groups[-1].start, groups[-1].count + 1, length)
        else:
            groups.append(Group(start, 1, length))
        start += length
    return Row(texts, groups)
