"""Measured comparisons of time and memory: `python -m bench`, from the repository's root."""
