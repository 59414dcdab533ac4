"""HTTP: one noun a file. What a request means is decided in the services."""
