"""Quantizers: one file for each method, found by the registry."""
