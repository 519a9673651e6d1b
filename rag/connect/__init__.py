"""Connections to other systems: vector stores, SQL databases."""
