"""Finding and opening models: in folders, GGUF files, packages, on the hub, by LangChain."""
