"""Runs: answers that are being made or were made, and the queue before them."""
