"""The endpoints, a file per group."""
