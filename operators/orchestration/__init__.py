"""Operators for orchestration: routing, scheduling (judges) and fusion."""
