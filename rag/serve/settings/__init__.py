"""The settings of a server: what can be set, and where from."""
