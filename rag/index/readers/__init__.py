"""From files to documents: find them, read them, say why one was not read."""
