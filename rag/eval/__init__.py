"""Measuring pipelines over data sets in BEIR's format."""
