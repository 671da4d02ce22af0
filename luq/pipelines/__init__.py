"""Quantizers applied to the blocks of a model, and the contract they are tested on."""
