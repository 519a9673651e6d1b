"""Letters: e-mail as it is sent and stored."""

from __future__ import annotations

from collections.abc import Iterable
from email import policy
from email.message import EmailMessage, MIMEPart
from email.parser import BytesParser
from email.utils import parsedate_to_datetime
from typing import ClassVar

from langchain_core.documents import Document

from rag.errors import LoadError
from rag.index.readers.decode import decode
from rag.index.readers.file import File
from rag.index.readers.formats.html import content_of, parsed
from rag.index.readers.reader import Reader, Types, document
from rag.text.structure import Structure

PARTS = 200
"""Parts of a letter that are read."""


class MailReader(Reader):
    """A letter with its attachments, as plain text; each attachment is a heading."""

    types: ClassVar[Types] = {"message/rfc822": (".eml",)}

    def read(self, file: File) -> Iterable[Document]:
        """The letter as one document, with `author`, `to`, `date` and the subject as `title`."""
        letter = BytesParser(policy=policy.default).parsebytes(file.data())
        if not letter.keys():
            raise LoadError("it is no letter: it has no header")
        text = _body(letter).strip()
        headings: list[tuple[int, int, str]] = []
        for name, body in _attachments(letter, file):
            text += "\n\n" if text else ""
            headings.append((len(text), 1, name))
            text += body.strip()
        known = {
            "author": _header(letter, "from"), "to": _header(letter, "to"), "date": _date(letter)
        }  # fmt: skip
        structure = Structure("none", tuple(headings))
        return [document(text, _header(letter, "subject"), structure, **known)]


def _header(letter: EmailMessage, name: str) -> str:
    try:
        return " ".join(str(letter.get(name, "")).split())
    except (ValueError, AttributeError, IndexError):  # headers that the library cannot parse
        return ""


def _date(letter: EmailMessage) -> str:
    try:
        return parsedate_to_datetime(str(letter.get("date", ""))).isoformat()
    except (ValueError, TypeError, IndexError):
        return ""


def _body(letter: EmailMessage) -> str:
    part = letter.get_body(("plain", "html"))
    if part is None:
        return ""
    text = _text(part)
    return content_of(parsed(text)) if part.get_content_subtype() == "html" else text


def _text(part: MIMEPart) -> str:
    try:
        return str(part.get_content())
    except (LookupError, ValueError):  # a charset that is unknown, or another one than it says
        data = part.get_payload(decode=True)
        return decode(data) if isinstance(data, bytes) else ""


def _attachments(letter: EmailMessage, file: File) -> Iterable[tuple[str, str]]:
    """Name and text of each attachment that can be read; of the others there is a warning."""
    body = letter.get_body(("plain", "html"))
    inside = set(map(id, body.walk())) if body is not None else set()
    for number, part in enumerate(letter.walk()):
        if number > PARTS:
            file.warn(f"of its parts only the first {PARTS} are read")
            break
        name = part.get_filename()
        if id(part) in inside or name is None or part.is_multipart():
            continue
        data = part.get_payload(decode=True)
        if not isinstance(data, bytes) or part.get_content_maintype() == "image":
            continue
        try:
            documents = file.within(name, data)
        except LoadError as error:
            file.warn(f"its attachment {name} is left out: {error.what}")
            continue
        yield name, "\n\n".join(one.page_content for one in documents)
