"""The router and its server."""
