import os
import stat
from pathlib import Path

import pytest

from rag import files
from rag.files import sync, sync_folder, write_atomically


def test_content_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "new" / "note.txt"
    write_atomically(path, "first, longer than the second")
    write_atomically(path, "größer")
    assert path.read_bytes() == "größer".encode()
    write_atomically(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    assert [one.name for one in path.parent.iterdir()] == ["note.txt"]


@pytest.mark.parametrize("failing", ["write", "fsync", "replace"])
def test_failure_keeps_the_old_content(
    tmp_path: Path, failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "note.txt"
    write_atomically(path, "old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        if failing == "write":
            content = "\udc80"  # no UTF-8
        else:
            content = "new"
            patch.setattr(os if failing == "fsync" else Path, failing, fail)
        with pytest.raises((OSError, UnicodeEncodeError)):
            write_atomically(path, content)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_permissions(tmp_path: Path) -> None:
    def mode(name: str) -> int:
        return stat.S_IMODE((tmp_path / name).stat().st_mode)

    umask = os.umask(0o027)
    try:
        write_atomically(tmp_path / "shared", "")
        write_atomically(tmp_path / "private", "", private=True)
    finally:
        os.umask(umask)
    assert (mode("shared"), mode("private")) == (0o640, 0o600)
    (tmp_path / "shared").chmod(0o604)
    write_atomically(tmp_path / "shared", "again")
    assert mode("shared") == 0o604


@pytest.mark.skipif(os.name == "nt", reason="Windows opens no folders")
def test_content_and_name_are_synced_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    fsync, replace = os.fsync, Path.replace

    def synced(handle: int) -> None:
        calls.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        fsync(handle)

    def replaced(self: Path, target: Path) -> Path:
        calls.append("replace")
        return replace(self, target)

    monkeypatch.setattr(files.os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    write_atomically(tmp_path / "note", "text")
    assert calls == ["file", "replace", "folder"]
    calls.clear()
    sync(tmp_path / "note")
    assert calls == ["file", "folder"]
    calls.clear()
    sync_folder(tmp_path)
    assert calls == ["folder"]
