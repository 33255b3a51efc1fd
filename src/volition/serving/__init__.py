"""A policy server: one process, several protocols, a memory for every robot. `server.py` runs it."""
