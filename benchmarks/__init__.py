"""How fast it is, beside its peers and the bare database: `make bench`, docs/benchmarks.md."""
