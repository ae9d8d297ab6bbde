"""One module for each group of parsers."""
