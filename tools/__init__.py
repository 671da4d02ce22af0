"""Generators of documents and of the embedded model; each is run by `python -m tools.NAME`."""
