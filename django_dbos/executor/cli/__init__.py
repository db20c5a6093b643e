"""The worker process: its command line, its signals, its children."""
