"""Rounding of weights: grids, error feedback and packed formats."""
