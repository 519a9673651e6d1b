"""One run of a flow: its events, policies and what its nodes share."""
