"""Experiment tracking: one file for each tracker, chosen by its name with `tracker=NAME`."""
