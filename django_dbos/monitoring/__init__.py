"""Health and metrics over HTTP, for probes and monitoring systems."""
