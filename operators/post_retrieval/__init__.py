"""Operators that order, choose and pack what was found."""
