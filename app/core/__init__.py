"""The words of the platform and nothing else: no I/O, no HTTP, no framework of another room."""
