"""Behaviours that other engines' own test suites hold, expressed with these constructs."""
