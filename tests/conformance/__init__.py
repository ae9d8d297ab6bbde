"""Corpora of messages as data, each case with the one outcome it must have; see README.md here."""
