"""The rules of the engine, free of I/O: no ORM, no database driver, no threads, no event loop."""
