"""Training of the embedded model: `python -m tools.mini.train`."""
