"""Benchmarks: `make bench NAME=…` prints a table for people, then one line of JSON with its ratios."""
