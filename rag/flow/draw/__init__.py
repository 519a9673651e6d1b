"""Drawings of flows: Mermaid text and SVG, from one layout of what is inside what."""
