"""Composers: how the stored states of chunks become the states of a prompt, one file each."""
