"""Flows as the server runs them."""
