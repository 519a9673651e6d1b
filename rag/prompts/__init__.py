"""Every text that a model is given, and how prompts are laid out."""
