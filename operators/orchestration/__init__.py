"""Operators that route, schedule and fuse."""
