"""Uploads: accepted, inspected, queued, ingested."""
