"""Fuzzing by hypothesis: each parser is fed what may be as wrong as it likes, and may only accept it or raise what it
documents. `python -m tests.fuzz TARGET SECONDS` runs one target; what it finds stays in found/ and is a test from then
on.
"""
