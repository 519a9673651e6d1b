"""Pages that are made from the code: commands, operators, ready-made flows, classes."""
