"""Training models on a user's own data: readers, embedders, rerankers, aggregators."""
