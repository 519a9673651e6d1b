"""Operators for generation: answers, their citations and their verification."""
