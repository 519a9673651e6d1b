"""SmolLM2-135M-Instruct as a GGUF file in this folder."""
