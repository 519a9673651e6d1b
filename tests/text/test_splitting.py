"""Chunks know where they stand, keep to their section and fit."""

from collections.abc import Sequence
from time import process_time
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.documents import Document

from rag.errors import ConfigError
from rag.text.chunk import Chunk
from rag.text.sections import Splitter, sections
from rag.text.sentences import sentences
from rag.text.splitting import split, words


def chunks(text: str, size: int = 20, overlap: int = 0, **metadata: object) -> list[Chunk]:
    return split([Document(page_content=text, metadata=metadata)], size=size, overlap=overlap)


def texts(found: Sequence[Chunk]) -> list[str]:
    return [chunk.text for chunk in found]


def by_letters(given: Sequence[str]) -> np.ndarray:
    """A vector by the letters of a text, unit length."""
    rows = [[text.count(letter) + 0.1 for letter in "aeinost"] for text in given]
    vectors = np.array(rows, dtype=np.float32).reshape(len(rows), 7)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


LINES = st.sampled_from(
    [
        *("# Locks", "## North lock", "### Gate #", "```", "~~~~", "| a | b |", "", "", "  "),
        *("def f():", "    return 1", "One sentence. Another one! A third?"),
        *("水門は開く。船は待つ。", "x" * 500),
    ]
)
MARKUP = st.lists(LINES, max_size=30).map("\n".join)


@settings(max_examples=300, deadline=None)
@given(
    text=MARKUP | st.text(),
    size=st.integers(1, 30),
    overlap=st.integers(0, 29),
    language=st.none() | st.just("python"),
    splitter=st.sampled_from(get_args(Splitter)),
    parents=st.sampled_from([(), (40,), (80, 40)]),
)
def test_offsets_are_exact_and_nothing_is_lost(
    text: str,
    size: int,
    overlap: int,
    language: str | None,
    splitter: Splitter,
    parents: tuple[int, ...],
) -> None:
    document = Document(page_content=text, metadata={"language": language, "page": 3})
    found = split(
        [document],
        size=size,
        overlap=min(overlap, size - 1),
        splitter=splitter,
        parents=parents,
        embed=by_letters,
    )
    covered = set()
    starts = [chunk.start for chunk in found]
    assert starts == sorted(set(starts))
    for chunk in found:
        start, end = chunk.start, chunk.end
        assert start is not None
        assert end is not None
        assert text[start:end] == chunk.text == chunk.text.strip() != ""
        assert words([chunk.text])[0] <= size
        assert chunk.page == 3
        covered.update(range(start, end))
    assert all(at in covered or text[at].isspace() for at in range(len(text)))


def test_heading_path_and_sections() -> None:
    text = (
        "Preamble.\n\n# Locks\n\n## North lock\n\n" + "Opened by the keeper at six. " * 4
        + "\n\n## South lock ##\n\nClosed.\n\n### Gate\n\nGreen.\n\n# Ferries\n\nNone.\n"
    )  # fmt: skip
    found = [(c.heading, c.text.split("\n")[0]) for c in chunks(text, 30)]
    assert found == [
        ("", "Preamble."),
        ("Locks > North lock", "# Locks"),
        ("Locks > South lock", "## South lock ##"),
        ("Ferries", "# Ferries"),
    ]


def test_small_sections_share_a_chunk_but_top_sections_do_not() -> None:
    text = "# A\n\n## B\n\none\n\n## C\n\ntwo\n\n# D\n\nthree\n"
    found = chunks(text)
    assert texts(found) == ["# A\n\n## B\n\none\n\n## C\n\ntwo", "# D\n\nthree"]
    assert [chunk.heading for chunk in found] == ["A", "D"]


def test_fenced_code_has_no_headings() -> None:
    text = (
        "# A\n\n````md\n```\n# not one\n~~~\n# nor this\n````\n\n# B\n\n```\n# nor that, unclosed\n"
    )
    assert [chunk.heading for chunk in chunks(text)] == ["A", "B"]


def test_comments_in_code_are_no_headings_and_definitions_stay_whole() -> None:
    function = "# says what\ndef f{}():\n    one = 1\n\n    return one + one\n\n\n"
    found = chunks("".join(function.format(n) for n in range(4)), 25, language="python")
    assert texts(found) == [(function.format(0) + function.format(1)).strip(),
                            (function.format(2) + function.format(3)).strip()]  # fmt: skip
    assert all("heading" not in chunk.metadata for chunk in found)


def test_chunks_end_with_paragraphs_then_sentences_then_words() -> None:
    paragraph = "One two three four five six. Seven eight nine ten."
    assert texts(chunks(f"{paragraph}\n\n{paragraph}\n\n{paragraph}", 16)) == [paragraph] * 3
    assert texts(chunks(paragraph, 6)) == ["One two three four five six.", "Seven eight nine ten."]
    assert texts(chunks(paragraph, 4)) == [
        "One two three four",
        "five six.",
        "Seven eight nine ten.",
    ]


def test_overlap_repeats_sentences_within_a_paragraph_only() -> None:
    sentences = [f"This is sentence {n}." for n in range(6)]
    assert texts(chunks(" ".join(sentences), 12, overlap=5)) == [
        " ".join(sentences[0:3]), " ".join(sentences[2:5]), " ".join(sentences[4:6])
    ]  # fmt: skip
    assert texts(chunks("\n\n".join(sentences[:4]), 9, overlap=5)) == [
        "\n\n".join(sentences[0:2]), "\n\n".join(sentences[2:4])
    ]  # fmt: skip


def test_rows_of_tables_are_not_cut() -> None:
    rows = [f"| Lock {n}. North. | Opens at six. Closes. |" for n in range(9)]
    found = chunks("\n".join(rows), 25)
    assert len(found) > 3
    assert [line for chunk in found for line in chunk.text.split("\n")] == rows


def test_a_blob_without_spaces_is_cut() -> None:
    """A tokenizer may take any blob for one word; a chunk of 20 words has few hundred letters."""
    blob = "x" * 10_000
    found = texts(chunks(blob, 20))
    assert 100 <= max(map(len, found)) <= 400
    assert "".join(found) == blob
    words_of_twelve = " ".join(["internatural"] * 40)
    assert [words([one]) for one in texts(chunks(words_of_twelve, 20))] == [[20], [20]]


def test_sentences_end_where_operators_end_them() -> None:
    """Abbreviations, initials and scripts without spaces, as `rag.text.sentences` knows them."""
    text = (
        "Dr. Smith met Mr. Jones at approx. 9 p.m. near Fig. 3. "
        'They left, e.g. by boat. "Why?" J. R. Hall asked. 水門は開く。船は待つ。'
    )
    for how in ("sentence", "structure", "markdown"):
        (section,) = sections(text, how, "", None)  # type: ignore[arg-type]
        assert [text[start:end].strip() for (start, end), _ in section.pieces] == sentences(text)
    assert len(sentences(text)) == 6


@pytest.mark.parametrize(("size", "overlap"), [(0, 0), (10, 10), (10, -1)])
def test_sizes_that_cannot_be(size: int, overlap: int) -> None:
    with pytest.raises(ConfigError, match="overlap"):
        chunks("text", size, overlap)


def test_texts_are_counted_once_per_document() -> None:
    calls: list[int] = []

    def count(pieces: Sequence[str]) -> list[int]:
        calls.append(len(pieces))
        return words(pieces)

    text = "\n".join(f"# Part {n}\n\nOne. Two. Three.\n" for n in range(100))
    split([Document(page_content=text)], count=count)
    assert calls == [400]


def test_time_is_linear_in_length() -> None:
    def seconds(sentences: int) -> float:
        text = "The keeper opens the lock. " * sentences

        def once() -> float:
            started = process_time()  # what other processes take does not count
            chunks(text, 200, 30)
            return process_time() - started

        return min(once() for _ in range(3))

    seconds(100)
    # Ten times the length; a quadratic step would take a hundred times as long.
    assert seconds(40_000) < 40 * seconds(4_000)


def test_embedding_text_names_title_and_headings_once() -> None:
    def shown(content: str, **metadata: str) -> str:
        return Chunk(content, metadata).embedding_text

    assert shown("Text.", title="Guide", heading="A > B") == "Guide\nA > B\nText."
    assert shown("# Guide\n\nText.", title="Guide", heading="Guide") == "# Guide\n\nText."
    assert shown("Text.", title="Guide", heading="Guide > B") == "Guide > B\nText."
    assert shown("Text.") == "Text."


MANUAL = "# Locks\n\nOne. Two.\n\n## North\n\nThree.\n\n# Pumps\n\nFour."


def test_markdown_keeps_every_section_apart() -> None:
    document = Document(page_content=MANUAL)
    found = split([document], size=50, overlap=0, splitter="markdown")
    assert [one.heading for one in found] == ["Locks", "Locks > North", "Pumps"]
    assert len(split([document], size=50, overlap=0)) == 2


def test_sentences_and_tokens_know_no_headings() -> None:
    document = Document(page_content=MANUAL)
    (whole,) = split([document], size=50, overlap=0, splitter="sentence")
    assert whole.text == MANUAL
    windows = split([Document(page_content="a b c d e")], size=3, overlap=1, splitter="token")
    assert texts(windows) == ["a b c", "c d e"]


def test_semantic_cuts_where_the_meaning_turns() -> None:
    text = "aa aaa aa. aa aa. aaaa aa. tt ttt tt. tt tt. tttt."
    found = split(
        [Document(page_content=text)], size=50, overlap=0, splitter="semantic", embed=by_letters
    )
    assert len(found) == 2
    assert "".join(texts(found)).count("a") == 17
    with pytest.raises(ConfigError, match="needs an embedder"):
        split([Document(page_content=text)], splitter="semantic")


CODE = '''"""A module."""

import os

# Opens a lock.
@cached
def opens(lock):

    return lock


class Lock:
    """A lock."""

    height = 3

    def close(self):

        return None

    async def fill(self):
        return await self.pump(1, 2, 3)

END = 1
'''


def test_code_is_cut_at_functions_classes_and_methods() -> None:
    document = Document(page_content=CODE, metadata={"language": "python"})
    found = split([document], size=9, overlap=0, splitter="code")
    parts = {one.heading: one.text for one in found}
    assert list(parts) == ["", "opens", "Lock", "Lock > close", "Lock > fill"]
    assert parts["opens"].startswith("# Opens a lock.\n@cached\ndef opens")
    assert found[-1].text == "END = 1"
    assert split([document], size=30, overlap=0, splitter="code")[2].heading == "Lock"
    broken = Document(page_content="def (:\n", metadata={"language": "python"})
    assert texts(split([broken], splitter="code")) == ["def (:"]


def test_parents_hold_their_children() -> None:
    text = " ".join(f"Sentence {n} ends here." for n in range(20))
    found = split([Document(page_content=text)], size=10, overlap=0, parents=(40, 20))
    outer = {one.parents[0] for one in found}
    inner = {one.parents[1] for one in found}
    assert outer < inner
    assert len(outer) == 2
    for one in found:
        assert one.parents[0] <= one.parents[1] <= (one.start or 0)
