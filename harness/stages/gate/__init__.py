"""stage=gate: whether a quantization backend may be shipped."""
