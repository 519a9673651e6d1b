"""An ingest on a real Ray cluster; `make test-ray` sets up what it needs."""
