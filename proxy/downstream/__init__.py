"""Clients' connections: which are taken, what they speak, and who serves them."""
