"""One reader a file: bytes to documents, each by a library that knows the format."""
