"""The documents that are searched: which there are, what is in them, links to them."""
