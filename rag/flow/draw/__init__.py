"""Drawings of flows."""
