"""Tests of the benchmark: its arithmetic, its readers, its load generator against its backend."""
