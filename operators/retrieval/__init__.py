"""Operators that find documents for a query."""
