"""Where sentences end, in any script."""

from __future__ import annotations

from time import process_time

import pytest

from rag.text.sentences import sentence_starts, sentences, spans


@pytest.mark.parametrize(
    "expected",
    [
        ["The keeper opens it.", "Tickets cost 4 crowns.", '"Who?" he asked.', "(Nobody.)", "No!"],
        ["Dr. Smith opens it at 6 a.m.", "Mr. and Mrs. Gray close it, e.g. No. 5 and Fig. 3."],
        ["Is it open?", "No.", "The keeper left the U.S.", "The U.S. Navy and J. R. Hall stayed."],
        ["St. Mary stands in Main St.", "It is approx. 5 m high, i.e. Low."],
        ["1. The keeper opens it.", "2. The cook cooks.", "A. Third.", "It took 120.", "So what?"],
        ["It is long. [1] [2]", "**It is deep.**", "`lock` is a word.", "- So is this."],
        [
            "Смотритель спит.",
            "Ясно?",
            "Étienne part.",
            "კარი.",
        ],
        ["है।", "هل هو؟", "نعم."],
    ],
)
def test_sentences_end_where_a_reader_ends_them(expected: list[str]) -> None:
    assert sentences(" ".join(expected)) == expected


def test_chinese_needs_no_spaces() -> None:
    expected = ["北閘由值班員開啟。", "它長120米！", "真的嗎?", "他說：「好。」", "iPad是新的。"]
    assert sentences("".join(expected)) == expected


@pytest.mark.parametrize("text", ["", " \n ", "...", "3.5 m and v2.0", "a.b.c", "Hello", "?! ?!"])
def test_whatever_the_text_nothing_is_lost(text: str) -> None:
    assert "".join("".join(sentences(text)).split()) == "".join(text.split())
    assert [text[start:end] for start, end in spans(text)] == sentences(text)


def test_text_without_capitals_is_cut_too() -> None:
    expected = ["the wing was tested .", "an effect of mr. hall's, e.g. lift, was found.", "why?"]
    assert sentences(" ".join([*expected, "no."])) == [*expected, "no."]


def test_starts_are_those_of_the_spans() -> None:
    text = '  One. "Two?" Three. Dr. Four. '
    assert list(sentence_starts(text)) == [start for start, _ in spans(text)][1:]
    assert [text[start:][:3] for start in sentence_starts(text)] == ['"Tw', "Thr", "Dr."]


def test_time_is_linear_where_no_stop_ends_a_sentence() -> None:
    def seconds(count: int) -> float:
        text = "A fig. e.g. x " * count

        def once() -> float:
            started = process_time()  # what other processes take does not count
            assert len(sentences(text)) == 1
            return process_time() - started

        return min(once() for _ in range(3))

    seconds(100)
    # Ten times the length; a quadratic step would take a hundred times as long.
    assert seconds(20_000) < 40 * seconds(2_000)


def test_lines_end_sentences_where_that_is_wanted() -> None:
    text = "# Locks\n\nThe lock is\nlong."
    assert sentences(text) == [text]
    assert sentences(text, lines=True) == ["# Locks", "The lock is", "long."]
