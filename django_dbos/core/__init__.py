"""The rules, without any I/O: no ORM, no database driver, no threads, no event loop."""
