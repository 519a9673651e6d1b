import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from rag.errors import CheckpointError
from rag.sqlite import Frozen, connect, is_damage, transaction, translated

SCHEMA = "CREATE TABLE IF NOT EXISTS notes (id INTEGER PRIMARY KEY, text TEXT)"


def notes(db: sqlite3.Connection) -> list[str]:
    return [text for (text,) in db.execute("SELECT text FROM notes ORDER BY id")]


def add(db: sqlite3.Connection, text: str) -> None:
    db.execute("INSERT INTO notes (text) VALUES (?)", (text,))


def test_file_is_made_with_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "notes.sqlite"
    with closing(connect(path, schema=SCHEMA, synchronous="FULL", private=True)) as db:
        add(db, "kept")  # committed at once
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert db.execute("PRAGMA synchronous").fetchone() == (2,)
        assert path.stat().st_mode & 0o077 == 0
        assert Path(f"{path}-wal").stat().st_mode & 0o077 == 0
    with closing(connect(path, schema=SCHEMA)) as db:
        assert notes(db) == ["kept"]
        assert db.execute("PRAGMA synchronous").fetchone() == (1,)


def test_memory() -> None:
    with closing(connect(None, schema=SCHEMA)) as db:
        with transaction(db):
            add(db, "kept")
        assert notes(db) == ["kept"]


def test_schema_is_all_or_nothing(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError):
        connect(tmp_path / "notes", schema="CREATE TABLE first (id); CREATE nonsense;")
    with closing(connect(tmp_path / "notes")) as db:
        assert db.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)


def test_transaction_rolls_back_on_any_error(tmp_path: Path) -> None:
    with closing(connect(tmp_path / "notes", schema=SCHEMA)) as db:
        for error in (ValueError, KeyboardInterrupt):
            with pytest.raises(error), transaction(db):
                add(db, "lost")
                raise error
        assert not db.in_transaction
        with transaction(db):
            add(db, "kept")
        assert notes(db) == ["kept"]


def test_transaction_rolls_back_when_the_commit_fails(tmp_path: Path) -> None:
    schema = """
        CREATE TABLE a (id INTEGER PRIMARY KEY);
        CREATE TABLE b (a REFERENCES a (id) DEFERRABLE INITIALLY DEFERRED)
    """
    with closing(connect(tmp_path / "notes", schema=schema)) as db:
        db.execute("PRAGMA foreign_keys=ON")
        with pytest.raises(sqlite3.IntegrityError), transaction(db):
            db.execute("INSERT INTO b VALUES (7)")
        assert not db.in_transaction
        assert db.execute("SELECT count(*) FROM b").fetchone() == (0,)


def test_transaction_that_sqlite_rolled_back_keeps_its_error(tmp_path: Path) -> None:
    with closing(connect(tmp_path / "notes", schema=SCHEMA)) as db:
        db.execute("PRAGMA max_page_count=4")
        with pytest.raises(sqlite3.OperationalError, match="full"), transaction(db):
            add(db, "x" * 100_000)
        assert notes(db) == []


def test_reading_transaction_sees_one_commit(tmp_path: Path) -> None:
    with (
        closing(connect(tmp_path / "notes", schema=SCHEMA)) as writer,
        closing(connect(tmp_path / "notes", read_only=True)) as reader,
    ):
        with transaction(reader, "DEFERRED"):
            assert notes(reader) == []
            add(writer, "new")
            assert notes(reader) == []
        assert notes(reader) == ["new"]
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            add(reader, "refused")


def test_reading_needs_a_file(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError):
        connect(tmp_path / "none", read_only=True)
    assert list(tmp_path.iterdir()) == []


MAKE = """
import pathlib, sys
from rag.sqlite import connect, transaction
path = pathlib.Path(sys.argv[1])
print("ready", flush=True)
for round in sys.stdin:
    db = connect(path / round.strip(), schema="CREATE TABLE IF NOT EXISTS notes (pid INT)")
    with transaction(db):
        db.execute("INSERT INTO notes VALUES (?)", (int(sys.argv[2]),))
    db.close()
    print("done", flush=True)
"""


def test_processes_make_one_file_at_once(tmp_path: Path) -> None:
    rounds, count = 40, 4
    others = [
        subprocess.Popen(
            [sys.executable, "-c", MAKE, str(tmp_path), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
        )
        for number in range(count)
    ]
    for other in others:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
    for number in range(rounds):
        for other in others:
            assert other.stdin is not None
            other.stdin.write(f"{number}\n")
            other.stdin.flush()
        for other in others:
            assert other.stdout is not None
            assert other.stdout.readline() == "done\n"
        with closing(connect(tmp_path / str(number))) as db:
            assert {pid for (pid,) in db.execute("SELECT pid FROM notes")} == set(range(count))
    for other in others:
        other.communicate()


def test_errors_are_of_the_callers_class(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.mkdir()
    with (
        pytest.raises(CheckpointError, match="runs cannot be used") as caught,
        translated(CheckpointError, "the file of runs", where=path, fix="name a file"),
    ):
        connect(path)
    assert (caught.value.where, caught.value.fix) == (str(path), "name a file")

    torn = tmp_path / "torn"
    torn.write_bytes(b"no database, but long enough to be read" * 200)
    with (
        pytest.raises(CheckpointError, match="runs is damaged") as caught,
        translated(CheckpointError, "the file of runs", where=torn, fix="", damaged="delete it"),
    ):
        connect(torn)
    assert caught.value.fix == "delete it"
    assert is_damage(caught.value.__cause__)  # type: ignore[arg-type]


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users reach, which pytest's are not."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


READ = """
import os, pathlib, sys
from rag.sqlite import Frozen, connect
if os.getuid() == 0:
    os.setuid(65534)
path = pathlib.Path(sys.argv[1])
db = connect(path, read_only=True)
assert isinstance(db, Frozen), db
for line in sys.stdin:
    if db.stale():
        db.close()
        db = connect(path, read_only=True)
    print([text for (text,) in db.execute("SELECT text FROM notes")], flush=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_folder_that_cannot_be_written_is_read(open_folder: Path) -> None:
    """Read by a process without rights to the folder, while its owner changes the file."""
    path = open_folder / "shut" / "notes"
    with closing(connect(path, schema=SCHEMA)) as db:
        add(db, "first")
    path.parent.chmod(0o555)
    try:
        with subprocess.Popen(
            [sys.executable, "-c", READ, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
        ) as other:
            assert other.stdin is not None
            assert other.stdout is not None

            def read() -> str:
                other.stdin.write("\n")  # type: ignore[union-attr]
                other.stdin.flush()  # type: ignore[union-attr]
                return other.stdout.readline()  # type: ignore[union-attr]

            assert read() == "['first']\n"
            path.parent.chmod(0o755)
            with closing(connect(path)) as db:
                add(db, "second")
            path.parent.chmod(0o555)
            assert read() == "['first', 'second']\n"
            other.communicate()
    finally:
        path.parent.chmod(0o755)


def test_frozen_with_commits_in_the_log_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What only stands in the log would be left out silently."""
    with closing(connect(tmp_path / "notes", schema=SCHEMA)) as db:
        add(db, "in the log")
        copy = tmp_path / "copy"
        copy.mkdir()
        for name in ("notes", "notes-wal"):
            (copy / name).write_bytes((tmp_path / name).read_bytes())

    def shut(*arguments: object, **options: object) -> sqlite3.Connection:
        if options.get("factory") is Frozen:
            pytest.fail("opened without its log")
        raise sqlite3.OperationalError("unable to open database file")

    monkeypatch.setattr(os, "access", lambda *_: False)
    with closing(connect(copy / "notes", read_only=True)) as db:
        assert notes(db) == ["in the log"]
    monkeypatch.setattr(sqlite3, "connect", shut)
    with pytest.raises(sqlite3.OperationalError):
        connect(copy / "notes", read_only=True)
