"""The periodic work of an executor."""
