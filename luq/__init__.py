"""Layerwise ultra-low-bit quantization: the algorithms.

No files, no configuration system, no evaluation.
"""
