"""Operators that cut and enrich documents before they are indexed."""
