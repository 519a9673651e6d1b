"""Operators that write the answer and check it."""
