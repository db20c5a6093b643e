"""Benchmarks beside peers and the bare database: `make bench`, docs/benchmarks.md."""
