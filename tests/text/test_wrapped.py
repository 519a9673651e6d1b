"""Lines that a narrow page broke are put together; tables, lists and headings keep theirs."""

from __future__ import annotations

import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.text.sentences import sentences
from rag.text.wrapped import unwrapped

SENTENCES = [
    "The tank of the lift hangs on 144 steel cables of 56 mm diameter, in eight groups.",
    "Defibrillators hang at the control room, at the three locks and on the Orrin Maid II.",
    "The Heron raises vessels by 18.7 m in one movement and replaces a staircase of locks.",
]


@pytest.mark.parametrize("width", [50, 61, 72, 95])
def test_sentences_that_a_page_broke_are_whole_again(width: int) -> None:
    page = textwrap.fill(" ".join(SENTENCES), width)
    assert "\n" in page
    assert sentences(page, lines=True) == SENTENCES


@pytest.mark.parametrize(
    "text",
    [
        "1. Construction of the lift and of its two counterweights\nThe Heron is a lift.",
        "# The lift and its two counterweights, with all cables\nthe Heron is a lift.",
        "| Fault | Lamp | What to do when it is lit for a while |\n| 114 | red | blow up again |",
        "- North lock: Mara Voss and Petr Halek, extension 3310\n- South lock: Ida Brandt",
        "The keeper opens the north lock at six in the morning.\nhe closes it at nine.",
        "opening hours\nfrom six to nine",
        "The old lock keepers of the Hallin Canal\n\nremember the flood.",
        "Arno Vestergaard keeps the archive of the company\nMilo\nIda Brandt drives the tug Hedda",
    ],
)
def test_what_stands_on_its_own_line_stays_there(text: str) -> None:
    assert unwrapped(text) == text.splitlines()


def test_an_item_of_a_list_goes_on_in_the_next_line() -> None:
    first = "- Visitors stay with their guide at all times, also on the\n  way back to the ship"
    assert unwrapped(f"{first}\n- Children under ten stay outside") == [
        " ".join(first.split()), "- Children under ten stay outside",
    ]  # fmt: skip


@given(st.text(alphabet="aB1 .|-#\n", max_size=400))
def test_only_white_space_changes(text: str) -> None:
    assert "".join("".join(unwrapped(text)).split()) == "".join(text.split())
