"""Other people's clients against one real server; `make test-clients` installs them."""
