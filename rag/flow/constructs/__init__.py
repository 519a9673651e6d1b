"""The constructs that flows are made of, besides steps: the patterns of Modular RAG (section 5)."""
