"""What may be done, and to whom: each service is one noun's verbs, free of HTTP."""
