"""The program of a collector box, and the traces it may replay. Knows the wire format, and nothing of the server."""
