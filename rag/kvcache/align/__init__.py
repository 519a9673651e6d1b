"""Alignment: states computed alone, brought to what they would be in context."""
