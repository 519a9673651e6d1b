"""The store in Qdrant, for several machines."""
