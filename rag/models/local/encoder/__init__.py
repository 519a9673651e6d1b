"""Encoders of the BERT family: texts to vectors, written out or by sentence-transformers."""
