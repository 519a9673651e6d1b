"""How much does an ingest cost beside the embedding that it cannot avoid?

    python benchmarks/ingest_rate.py [--chunks 1000] [--rounds 3] [--more 4000]

A seeded corpus of Markdown, text, HTML, code and CSV files, in words of the embedder's vocabulary,
is ingested into a fresh index; in turn with it, sentence-transformers' `encode` is given the texts
of the same chunks, all at once, by the same model in the same process. Prints both rates in chunks
a second and the median of their ratios; the time of an ingest with nothing to do; and the most
memory that an ingest takes, in processes of their own, for `--chunks` and for `--more` chunks.
"""

from __future__ import annotations

import argparse
import random
import statistics
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from time import perf_counter

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from rag.index import Index
from rag.index.ingest.ingest import IngestReport, ingest
from rag.index.ingest.plan import plan
from rag.index.readers.discover import FileRef, discover
from rag.index.readers.read import read_file
from rag.models import Embedder
from rag.models.opening.find import find_model
from rag.text.splitting import split

CHUNKS_A_FILE = 8
TOKENS_A_CHUNK = 150


class _Writer:
    """Writes files of Zipf-distributed words, the same for the same seed."""

    def __init__(self, vocabulary: list[str], seed: int = 1) -> None:
        self._draw = random.Random(seed)
        self._words = vocabulary
        self._draw.shuffle(self._words)
        self._weights = [1 / (rank + 3) for rank in range(len(self._words))]

    def words(self, least: int, most: int) -> list[str]:
        return self._draw.choices(self._words, self._weights, k=self._draw.randint(least, most))

    def sentence(self) -> str:
        return " ".join(self.words(6, 24)).capitalize() + "."

    def paragraph(self) -> str:
        return " ".join(self.sentence() for _ in range(self._draw.randint(2, 7)))

    def markdown(self, words: int) -> str:
        parts = [f"# {' '.join(self.words(2, 5))}"]
        while sum(map(len, parts)) < 6 * words:
            parts.append(f"## {' '.join(self.words(1, 4))}")
            parts += [self.paragraph() for _ in range(self._draw.randint(1, 4))]
        return "\n\n".join(parts)

    def text(self, words: int) -> str:
        return "\n\n".join(self.paragraph() for _ in range(words // 60))

    def html(self, words: int) -> str:
        body = "".join(
            f"<h2>{' '.join(self.words(1, 4))}</h2>"
            f"<p>{self.paragraph()}</p><p>{self.paragraph()}</p>"
            for _ in range(words // 120)
        )
        return f"<html><title>{self.sentence()}</title><body><main>{body}</main></body></html>"

    def code(self, words: int) -> str:
        def function() -> str:
            name, body = "_".join(self.words(2, 3)), self.words(10, 40)
            lines = "\n".join(f"    {word} = call_{word}({word})" for word in body)
            return f'def {name}():\n    """{self.sentence()}"""\n{lines}\n    return {body[-1]}\n'

        return "\n\n".join(function() for _ in range(words // 100))

    def csv(self, words: int) -> str:
        rows = [f"{n},{' '.join(self.words(2, 3))},{self.sentence()}" for n in range(words // 20)]
        return "\n".join(["number,name,remark", *rows])


def write_corpus(folder: Path, chunks: int, vocabulary: list[str]) -> None:
    """Files that make about so many chunks."""
    writer = _Writer(vocabulary)
    kinds = [("md", writer.markdown)] * 5 + [
        ("txt", writer.text), ("html", writer.html), ("py", writer.code), ("csv", writer.csv)
    ]  # fmt: skip
    for number in range(max(1, chunks // CHUNKS_A_FILE)):
        ending, write = kinds[number % len(kinds)]
        file = folder / f"part{number % 7}" / f"{number:05}.{ending}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(write(CHUNKS_A_FILE * TOKENS_A_CHUNK * 5 // 6))


def vocabulary_of(place: str) -> list[str]:
    from transformers import AutoTokenizer

    known = AutoTokenizer.from_pretrained(place).get_vocab()
    return sorted(word for word in known if word.isascii() and word.isalpha() and len(word) > 2)


def run(docs: Path, folder: Path, embedder: Embedder) -> IngestReport:
    index = Index.writer(folder, embedder=embedder.id, dim=embedder.dim)
    try:
        return ingest(
            plan([docs], index, "bench"), index, embedder, fingerprint="bench",
            split=lambda documents: split(documents, count=embedder.lengths),
        )  # fmt: skip
    finally:
        index.close()


def texts_of(docs: Path, embedder: Embedder) -> list[str]:
    files = [found for found in discover([docs]) if isinstance(found, FileRef)]
    loaded = [list(read_file(file)) for file in files]
    return [c.embedding_text for one in loaded for c in split(one, count=embedder.lengths)]


def compare(docs: Path, base: Path, embedder: Embedder, rounds: int) -> None:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(find_model(Embedder.default, Path()).location)
    texts = texts_of(docs, embedder)
    model.encode_document(texts[:64], show_progress_bar=False)
    embedder.embed(texts[:64])
    ratios = []
    print(f"{len(texts)} chunks\n{'round':>5} {'encode/s':>9} {'ingest/s':>9} {'ratio':>6}")
    for number in range(rounds):
        started = perf_counter()
        model.encode_document(texts, normalize_embeddings=True, show_progress_bar=False)
        plain = len(texts) / (perf_counter() - started)
        report = run(docs, base / f"index{number}", embedder)
        ours = report.chunks_added / report.seconds
        ratios.append(ours / plain)
        print(f"{number + 1:>5} {plain:>9.1f} {ours:>9.1f} {ratios[-1]:>6.3f}")
    print(f"median ratio {statistics.median(ratios):.3f}")
    print(
        f"last ingest: {report.seconds:.2f} s, embedding {report.embedding_seconds:.2f}, commits"
        f" {report.writing_seconds:.2f}, parsing beside them {report.parsing_seconds:.2f}"
    )
    started = perf_counter()
    again = run(docs, base / "index0", embedder)
    seconds = perf_counter() - started
    assert again.files == 0
    print(f"again: {again.unchanged} files unchanged in {seconds:.3f} s, "
          f"{report.seconds / seconds:.0f} times as fast")  # fmt: skip


def peak_memory(docs: Path, folder: Path, embedder: Embedder) -> str:
    """An ingest's largest resident memory, and what there was before it."""
    embedder.embed(["The model has to run once to have its memory."] * 64)
    process, done = psutil.Process(), threading.Event()
    before = peak = process.memory_info().rss

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.05):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    report = run(docs, folder, embedder)
    done.set()
    watcher.join()
    return (
        f"{report.chunks_added} chunks: {before / 2**20:.0f} MB before, {peak / 2**20:.0f} at most"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--chunks", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--more", type=int, default=4000)
    parser.add_argument("--memory-only", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    embedder = Embedder.load(Embedder.default, base=Path())
    with tempfile.TemporaryDirectory() as temporary:
        base = Path(temporary)
        vocabulary = vocabulary_of(find_model(Embedder.default, base).location)
        write_corpus(base / "docs", given.chunks, vocabulary)
        if given.memory_only:
            print(peak_memory(base / "docs", base / "index", embedder))
            return
        compare(base / "docs", base, embedder, given.rounds)
    for chunks in (given.chunks, given.more):
        command = [sys.executable, __file__, "--memory-only", "--chunks", str(chunks)]
        child = subprocess.run(command, check=True, capture_output=True, text=True)
        print(f"memory, {child.stdout}", end="")


if __name__ == "__main__":
    main()
