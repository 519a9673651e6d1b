"""From files to documents: find them, read them, say why one was not read."""

from rag.index.loading.ahead import ahead
from rag.index.loading.discover import FileRef, Skipped, absolute, discover, read
from rag.index.loading.load import load

__all__ = ["FileRef", "Skipped", "absolute", "ahead", "discover", "load", "read"]
