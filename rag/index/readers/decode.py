"""Decoding of bytes that are text."""

from __future__ import annotations

import codecs
import re

from rag.errors import LoadError

SAMPLE = 32_768
"""Bytes that an unknown encoding is guessed from."""
USUAL = "cp1252"
"""What text that is not Unicode mostly is: Windows, Western Europe."""

UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
"""How text in UTF-16 begins."""
_CONTROL = re.compile(r"[\x00-\x06\x0e-\x1a\x1c-\x1f\x7f]")


def decode(data: bytes) -> str:
    """Decode bytes: UTF-8, UTF-16 with a byte order mark, else what charset-normalizer is sure of.

    Line ends become line feeds.

    Raises:
        LoadError: It is no text, or its encoding is unknown.
    """
    refuse_binary(data)
    encoding = encoding_of(data)
    try:
        found = data.decode(encoding)
    except UnicodeDecodeError:
        raise LoadError(f"neither UTF-8 nor {encoding} throughout") from None
    if len(_CONTROL.findall(found)) > len(found) // 50:
        raise LoadError("not text: it is full of control characters")
    return found.replace("\r\n", "\n").replace("\r", "\n")


def encoding_of(data: bytes) -> str:
    """The name of the encoding.

    Raises:
        LoadError: It is unknown.
    """
    encoding = "utf-16" if data.startswith(UTF_16) else "utf-8-sig"
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return _guess(data)
    return encoding


def refuse_binary(data: bytes) -> None:
    """Raise LoadError if the bytes cannot be text."""
    if b"\x00" in data and not data.startswith(UTF_16):
        raise LoadError("not text: it holds zero bytes")


def _guess(data: bytes) -> str:
    from charset_normalizer import from_bytes

    # Only the lines that are not ASCII carry information.
    lines = [line for line in data.splitlines(keepends=True) if not line.isascii()]
    found = from_bytes(b"".join(lines)[:SAMPLE])
    best = found.best()
    if best is not None and best.chaos <= 0.1:
        equal = [one for one in found if (one.chaos, one.coherence) == (best.chaos, best.coherence)]
        # Little text leaves several; the usual one is right more often than any other.
        if any(USUAL in one.could_be_from_charset for one in equal):
            return USUAL
        if len(equal) == 1:
            return best.encoding
    raise LoadError("not UTF-8, and its encoding is unknown")
