"""What workflow code may do. Each operation takes one step number and leaves one checkpoint."""
