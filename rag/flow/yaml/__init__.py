"""Pipeline files: read, written, described by a JSON Schema."""
