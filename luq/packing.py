"""Integers to bytes and back, bit by bit: what is stored is what is counted."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from luq.types import QuantizationError


def pack_bits(codes: Tensor, bits: int) -> Tensor:
    """Integers in 0..2**bits-1, any shape, as a byte string: (ceil(n * bits / 8),) uint8, least significant bit first, no gaps."""
    if not 1 <= bits <= 8:
        raise ValueError(f"bits must be 1 to 8, not {bits}")
    flat = codes.reshape(-1).to(torch.uint8).cpu().numpy()
    if flat.size and int(codes.max()) >> bits:
        raise QuantizationError(f"a code of {int(codes.max())} does not fit into {bits} bits")
    planes = np.unpackbits(flat[:, None], axis=1, bitorder="little")[:, :bits]
    return torch.from_numpy(np.packbits(planes.reshape(-1), bitorder="little"))


def unpack_bits(packed: Tensor, bits: int, count: int) -> Tensor:
    """The inverse of `pack_bits`: (count,) uint8. Raises QuantizationError when the byte string has another length."""
    expected = (count * bits + 7) // 8
    if packed.numel() != expected:
        raise QuantizationError(f"{count} codes of {bits} bits take {expected} bytes, the tensor has {packed.numel()}")
    planes = np.unpackbits(packed.cpu().numpy(), count=count * bits, bitorder="little").reshape(count, bits)
    return torch.from_numpy(np.packbits(planes, axis=1, bitorder="little")[:, 0] if count else np.zeros(0, np.uint8))
