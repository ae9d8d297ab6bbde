"""Connections to backends: made, pooled, and lent to one exchange or many."""
