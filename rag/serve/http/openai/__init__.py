"""OpenAI's API over pipelines: a file per group of endpoints."""
