"""The store in PostgreSQL with pgvector, for several machines."""
