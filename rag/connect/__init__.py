"""Other systems: vector stores, SQL databases."""
