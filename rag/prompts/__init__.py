"""Every text that a model is given: prompts, their templates, how they are laid out, sanitising."""
