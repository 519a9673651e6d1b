"""Stored KV states of chunks, and how prompts are composed of them."""
