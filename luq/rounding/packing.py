"""Pack small integers into bytes without gaps, and unpack them."""

from __future__ import annotations

import torch
from torch import Tensor

from luq.types import QuantizationError

LANES = 8  # eight codes of b bits fill b bytes


def pack_bits(codes: Tensor, bits: int) -> Tensor:
    """Pack integers, least significant bit first.

    Args:
        codes: integers in 0..2**bits-1, any shape and numeric type.
        bits: 1 to 8.

    Returns:
        (ceil(n * bits / 8),) uint8 on the CPU.

    Raises:
        ValueError: bits is outside 1..8.
        QuantizationError: A code does not fit into the bits.
    """
    if not 1 <= bits <= 8:
        raise ValueError(f"bits must be 1 to 8, not {bits}")
    if codes.numel() and not 0 <= float(codes.min()) <= float(codes.max()) < 2**bits:
        raise QuantizationError(
            f"codes from {float(codes.min()):g} to {float(codes.max()):g} do not fit into {bits}"
            " bits"
        )
    flat = codes.reshape(-1).to(torch.uint8)
    lanes = torch.nn.functional.pad(flat, (0, -flat.numel() % LANES)).reshape(-1, LANES)
    packed = torch.zeros(len(lanes), bits, dtype=torch.uint8, device=codes.device)
    for lane in range(LANES):
        byte, shift = divmod(lane * bits, 8)
        packed[:, byte] |= lanes[:, lane] << shift
        if shift + bits > 8:
            packed[:, byte + 1] |= lanes[:, lane] >> (8 - shift)
    return packed.reshape(-1)[: _length(flat.numel(), bits)].cpu().clone()


def unpack_bits(packed: Tensor, bits: int, count: int) -> Tensor:
    """Unpack what `pack_bits` packed.

    Args:
        packed: (bytes,) uint8.
        bits: of each code.
        count: number of codes.

    Returns:
        (count,) uint8 on the device of `packed`.

    Raises:
        QuantizationError: `packed` has another length than that many codes take.
    """
    if packed.numel() != _length(count, bits):
        raise QuantizationError(
            f"{count} codes of {bits} bits take {_length(count, bits)} bytes, the tensor has"
            f" {packed.numel()}"
        )
    if 8 % bits == 0:
        shifts = torch.arange(0, 8, bits, dtype=torch.uint8, device=packed.device)
        codes: Tensor = ((packed[:, None] >> shifts) & (2**bits - 1)).reshape(-1)[:count]
        return codes
    rows = -(-count // LANES)
    stored = torch.nn.functional.pad(packed, (0, rows * bits - packed.numel())).reshape(rows, bits)
    lanes = torch.empty(rows, LANES, dtype=torch.uint8, device=packed.device)
    for lane in range(LANES):
        byte, shift = divmod(lane * bits, 8)
        code = stored[:, byte] >> shift
        if shift + bits > 8:
            code |= stored[:, byte + 1] << (8 - shift)
        lanes[:, lane] = code & (2**bits - 1)
    return lanes.reshape(-1)[:count]


def _length(count: int, bits: int) -> int:
    return (count * bits + 7) // 8
