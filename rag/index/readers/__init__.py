"""From files to documents: discovery, decoding, one reader per format."""
