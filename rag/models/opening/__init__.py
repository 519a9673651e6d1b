"""Where models come from: folders, GGUF files, packages, hubs."""
