"""How fast it is, beside the bare database: `python -m benchmarks`, or `make bench`."""
