"""Parts of the reader, one a subject: see `store.reader`."""
