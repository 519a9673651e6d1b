"""Operators that change the query before anything is searched."""
