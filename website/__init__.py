"""The site of the documentation: its pages put together, its reference made from the code."""
