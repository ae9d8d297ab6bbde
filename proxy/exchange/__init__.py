"""One request's life, from the head that came to the last byte of its answer."""
