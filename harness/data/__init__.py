"""Calibration data: sources, and the sequences that are made of them."""
