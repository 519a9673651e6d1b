"""What a chunk's properties make of metadata, whatever is in them."""

from __future__ import annotations

from langchain_core.documents import Document

from rag.text.chunk import Chunk


def test_a_document_and_its_chunk_say_the_same() -> None:
    document = Document(id="x", page_content="Text.", metadata={"source": "a", "year": 1990})
    chunk = Chunk.of(document)
    assert chunk == Chunk("Text.", {"source": "a", "year": 1990}, "x")
    assert chunk.document() == document
    assert chunk.document(year=2000, self=1).metadata == {"source": "a", "year": 2000, "self": 1}
    assert chunk.updated(source="b").source == "b"
    assert document.metadata == {"source": "a", "year": 1990}


def test_a_piece_knows_its_position() -> None:
    whole = Chunk("One. Two.", {"page": 3, "title": "Numbers"}, "x")
    piece = whole.piece(5, 9, ["A", "B"], [0])
    assert (piece.text, piece.id) == ("Two.", None)
    assert (piece.start, piece.end, piece.page, piece.position) == (5, 9, 3, (3, 5))
    assert (piece.heading, piece.headings, piece.parents) == ("A > B", ("A", "B"), (0,))
    assert piece.title == "Numbers"
    plain = whole.piece(0, 4)
    assert plain.metadata == {"page": 3, "title": "Numbers", "start": 0, "end": 4}
    assert (plain.headings, plain.parents) == ((), ())


def test_metadata_of_any_kind() -> None:
    odd = Chunk(
        "T.",
        {"title": 123, "start": "12", "end": 3.0, "page": [1], "parents": "x", "questions": "Q?"},
    )
    assert (odd.title, odd.start, odd.end, odd.page) == ("123", 12, 3, None)
    assert (odd.parents, odd.source, odd.position) == ((), "", (0, 12))
    assert odd.indexed_text == "123\nT."
    assert Chunk("", {"start": True, "end": "z", "page": "iv"}).position == (0, 0)
    assert (Chunk("", {"start": True}).start, Chunk("", {"page": "iv"}).page) == (None, "iv")


def test_what_is_indexed_stands_in_order() -> None:
    metadata = {"title": "Bakery", "heading": "Bread", "questions": ["Who?", "Where?"]}
    chunk = Chunk("Text.", {**metadata, "summary": "Short."})
    assert chunk.embedding_text == "Bakery\nBread\nText."
    assert chunk.indexed_text == "Bakery\nBread\nText.\nWho?\nWhere?\nShort."
    assert chunk.updated(found_by="summary").indexed_text == "Bakery\nBread\nShort."
    assert chunk.updated(found_by="questions", questions=()).indexed_text.endswith("Text.\nShort.")
