"""Data sets: what is read, what is refused with its line, and what is only said."""

from __future__ import annotations

from pathlib import Path

import pytest

from rag.errors import ConfigError
from rag.eval.contexts import samples
from rag.eval.loading import load_dataset

ROW = '{"_id": "d1", "text": "The north lock is 120 m long."}\n'


def test_a_data_set_is_read(data: Path) -> None:
    found = load_dataset(data)
    assert [query.id for query in found.queries] == ["q1", "q2"]
    assert len(found.documents) == 3
    assert found.notes == ()
    assert len(load_dataset(data, limit=1).queries) == 1
    assert (
        load_dataset(data, limit=1, seed=3).queries == load_dataset(data, limit=1, seed=3).queries
    )


def test_what_is_no_data_set_is_said(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no judgements"):
        load_dataset(tmp_path)
    with pytest.raises(ConfigError, match="no judgements 'dev'"):
        load_dataset(data, split="dev")


@pytest.mark.parametrize(
    ("file", "text", "line", "says"),
    [
        ("corpus.jsonl", '{"_id": "d1"\n', ":1", "not JSON"),
        ("corpus.jsonl", f"{ROW}\n[1]\n", ":3", "valid dictionary"),
        ("corpus.jsonl", f'{ROW}{{"_id": "d2"}}', ":2", "text: Field required"),
        ("corpus.jsonl", '{"_id": null, "text": "x"}', ":1", "_id: "),
        ("corpus.jsonl", '{"_id": "", "text": "x"}', ":1", "_id: "),
        ("corpus.jsonl", '{"_id": "d1", "text": "x", "title": ["y"]}', ":1", "title: "),
        ("corpus.jsonl", ROW + ROW, ":2", "the id 'd1' is already used in line 1"),
        ("corpus.jsonl", ROW.encode() + b'{"_id": "\xff"}', ":2", "not UTF-8"),
        ("corpus.jsonl", "\n", "", "it has no lines"),
        ("queries.jsonl", '{"_id": "q1", "text": ""}', ":1", "text: "),
        ("queries.jsonl", '{"_id": "q1", "text": "?"}\n' * 2, ":2", "is already used in line 1"),
        (
            "queries.jsonl",
            '{"_id": "q1", "text": "?", "metadata": {"answers": "120 m"}}',
            ":1",
            "metadata.answers: Input should be a valid list",
        ),
        ("qrels/test.tsv", "query-id\tcorpus-id\tscore\n", "", "there are no judgements"),
        ("qrels/test.tsv", "", "", "there are no judgements"),
        ("qrels/test.tsv", "query-id\tcorpus-id\tscore\nq1\td1\n", ":2", "not a judgement"),
        ("qrels/test.tsv", "q1\td1\nq1\td1\t1\n", ":1", "not a judgement"),
        ("qrels/test.tsv", "q1\td1\t0.5\n", ":1", "not a judgement"),
        ("qrels/test.tsv", "q1\td1\t1\nq1\td2\tgood\n", ":2", "not a judgement"),
        ("qrels/test.tsv", "q1\td1\t1\nq1\td2\t--1\n", ":2", "not a judgement"),
        ("qrels/test.tsv", b"q1\td\xe9\t1\n", ":1", "not UTF-8"),
        ("qrels/test.tsv", "q9\td1\t1\n", "", "judges no query"),
    ],
)
def test_what_is_broken_is_said_with_its_line(
    data: Path, file: str, text: str | bytes, line: str, says: str
) -> None:
    (data / file).write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ConfigError) as caught:
        load_dataset(data)
    assert says in caught.value.what
    assert caught.value.where == f"{data / file}{line}"
    assert caught.value.fix


@pytest.mark.parametrize(
    "text",
    [
        "query-id corpus-id score\nq1 d1 1\nq2 d2 -1\n",
        "q1 0 d1 1\nq2 0 d2 -1\n",
        "q1\tQ0\td1\t1\r\n\r\nq2\tQ0\td2\t-1\r\n",
    ],
)
def test_judgements_may_be_written_with_blanks_and_as_trec_does(data: Path, text: str) -> None:
    (data / "qrels" / "test.tsv").write_bytes(text.encode())
    assert [one.relevant for one in load_dataset(data).queries] == [{"d1": 1}, {"d2": -1}]


def test_numbers_may_be_ids_and_answers(data: Path) -> None:
    (data / "queries.jsonl").write_text('{"_id": 1, "text": "?", "metadata": {"answers": [1911]}}')
    (data / "qrels" / "test.tsv").write_text("1\td1\t1\n")
    (query,) = load_dataset(data).queries
    assert (query.id, query.answers) == ("1", ("1911",))


def test_judgements_of_what_is_not_there_are_told(data: Path) -> None:
    (data / "qrels" / "test.tsv").write_text("q1\td1\t1\nq1\tgone\t2\nq9\td1\t1\n")
    found = load_dataset(data)
    assert found.queries[0].relevant == {"d1": 1, "gone": 2}
    documents, queries = found.notes
    assert "1 of the judged documents are not in corpus.jsonl" in documents
    assert "1 of the judged queries are not in queries.jsonl" in queries
    (sample,) = samples(found, 1, others=0)
    assert "120 m" in sample.chunks[0]
    with pytest.raises(ConfigError, match="3 documents, 14 are needed"):
        samples(found, 1)


def test_the_digest_is_of_the_corpus(data: Path) -> None:
    before = load_dataset(data).digest
    assert load_dataset(data, limit=1).digest == before
    corpus = data / "corpus.jsonl"
    corpus.write_text(corpus.read_text().replace("120 m", "130 m"))
    assert load_dataset(data).digest != before
