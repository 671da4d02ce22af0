"""Variants: models with quantized decoder blocks, from calibration to export."""
