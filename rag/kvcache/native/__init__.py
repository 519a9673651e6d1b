"""Decoders of the Llama family, written out: no class of transformers takes part."""
