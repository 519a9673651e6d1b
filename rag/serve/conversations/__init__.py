"""Conversations, and what is kept with them: feedback, responses."""
