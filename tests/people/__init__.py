"""Forms that people answer, and callbacks."""
