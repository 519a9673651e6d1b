"""Which files are found, and why others are not."""

import os
from pathlib import Path

import pytest

from rag.index.readers.discover import FileRef, Skipped, discover


def put(root: Path, *names: str) -> None:
    for name in names:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("some text")


def names(*paths: Path) -> list[str]:
    return [found.name for found in discover(paths) if isinstance(found, FileRef)]


def reasons(*paths: Path) -> dict[str, str]:
    return {
        found.path.name: found.reason for found in discover(paths) if isinstance(found, Skipped)
    }


def test_folders_are_walked_in_order_without_noise(tmp_path: Path) -> None:
    put(tmp_path, "b.md", "a/z.txt", "a/B.MD", "c.py", ".hidden.md", ".git/x.md", "a/.venv/x.py")
    put(tmp_path, "node_modules/x.js", "a/__pycache__/x.py", "build/kept.md")
    put(tmp_path, "index/index.sqlite", "index/bm25-1/meta.json")
    assert names(tmp_path) == ["a/B.MD", "a/z.txt", "b.md", "build/kept.md", "c.py"]
    assert reasons(tmp_path) == {}


def test_what_is_named_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, ".notes/x.md", ".y.md", "docs/z.md")
    assert names(tmp_path / ".notes", tmp_path / ".y.md") == ["x.md", ".y.md"]
    monkeypatch.chdir(tmp_path / ".notes")
    (found,) = discover([Path("../docs")])
    assert isinstance(found, FileRef)
    assert found.path == tmp_path / "docs" / "z.md"
    about = found.path.stat()
    assert (found.size, found.mtime_ns) == (about.st_size, about.st_mtime_ns)


def test_each_file_comes_once(tmp_path: Path) -> None:
    put(tmp_path, "a/x.md", "b/y.md")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "b" / "again.md").symlink_to(tmp_path / "a" / "x.md")
    (tmp_path / "self.md").symlink_to("self.md")
    assert names(tmp_path, tmp_path / "a", tmp_path / "b" / "y.md") == ["a/x.md", "b/y.md"]
    assert list(reasons(tmp_path)) == ["self.md"]


def test_reasons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "x.png", "Makefile", "fine.md", "locked.md", ".env.d/none", "server.pem")
    (tmp_path / "odd").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    (tmp_path / "empty.md").touch()
    (tmp_path / "dangling.md").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.md")
    for name in ("big.txt", "big.csv", "big.epub"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(150 * 2**20)
    allowed = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: "locked" not in str(path) and allowed(path, mode)
    )
    assert reasons(tmp_path, tmp_path / "missing") == {
        "big.epub": "too large: 150 MB, the limit is 100 MB",
        "big.txt": "too large: 150 MB, the limit is 20 MB",
        "dangling.md": "there is no such file or folder",
        "empty.md": "the file is empty",
        "locked.md": "cannot be opened: Permission denied",
        "missing": "there is no such file or folder",
        "odd": "unknown file type (no ending), image/png",
        "pipe.md": "not a regular file",
        "server.pem": "it may hold keys or passwords",
        "x.png": "unknown file type .png",
    }
    assert names(tmp_path) == ["Makefile", "big.csv", "fine.md"]


def test_folder_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "a/x.md", "b/y.md")
    listed = os.listdir

    def refuse(path: Path) -> list[str]:
        if path.name == "a":
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(os, "listdir", refuse)
    assert reasons(tmp_path) == {"a": "cannot be opened: Permission denied"}
    assert names(tmp_path) == ["b/y.md"]
