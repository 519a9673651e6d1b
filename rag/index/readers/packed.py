"""ZIP files that hold a document: Office, OpenDocument, EPUB."""

from __future__ import annotations

import io
import zipfile
from typing import Any

from rag.errors import LoadError

UNPACKED_BYTES = 200 * 2**20
"""What unpacks to more is an attack on memory, not a letter."""
_TERMS = "http://purl.org/dc/elements/1.1/"
MEMBERS = 20_000
"""Files in the ZIP file, likewise."""


def unpacked(data: bytes) -> zipfile.ZipFile:
    """The ZIP file, if it can be unpacked.

    Raises:
        LoadError: It unpacks to too much, or needs a password.
        zipfile.BadZipFile: It is none, or broken.
    """
    parts = zipfile.ZipFile(io.BytesIO(data))
    members = parts.infolist()
    if len(members) > MEMBERS or sum(member.file_size for member in members) > UNPACKED_BYTES:
        raise LoadError(f"it unpacks to more than {UNPACKED_BYTES // 2**20} MB")
    if any(member.flag_bits & 1 for member in members):
        raise LoadError("it is encrypted")
    return parts


def xml_of(data: bytes) -> Any:
    """The root element of XML of which no entity is expanded and nothing else is loaded."""
    from lxml import etree

    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, recover=True,
        remove_comments=True, remove_pis=True,
    )  # fmt: skip
    return etree.fromstring(data, parser)


def core_properties(parts: zipfile.ZipFile) -> dict[str, Any]:
    """Title and author of an Office document."""
    core = "docProps/core.xml"
    return dublin_core(parts.read(core)) if core in parts.namelist() else {}


def dublin_core(data: bytes) -> dict[str, Any]:
    """Title and author in XML that says them by Dublin Core's terms."""
    root = xml_of(data)
    found: dict[str, Any] = {}
    for name, key in (("title", "title"), ("creator", "author")):
        text = root.findtext(f".//{{{_TERMS}}}{name}") if root is not None else ""
        if text and text.strip():
            found[key] = " ".join(text.split())
    return found
