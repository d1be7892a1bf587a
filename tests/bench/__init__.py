"""Benchmarks; `make bench` runs them. Never timed tests: each compares with a peer in the same run."""
