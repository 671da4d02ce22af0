"""The decoder of a transformers model: its blocks and linears."""
