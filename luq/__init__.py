"""Layerwise ultra-low-bit quantization (LUQ, arXiv 2509.23729) of models in memory.

    import luq

    with luq.quantize(model, luq.LUQ(k=16), calibration) as quantized:
        print(quantized.stored_bits, quantized.paper_bits)

luq reads and writes no files, has no configuration system and evaluates nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from luq.pipelines.face import Quantized, quantize
    from luq.pipelines.layerwise import LUQ
    from luq.quantizers.awq import AWQ
    from luq.quantizers.billm import BiLLM
    from luq.quantizers.full_precision import FullPrecision
    from luq.quantizers.gptq import GPTQ
    from luq.quantizers.pbllm import PBLLM
    from luq.quantizers.registry import register
    from luq.quantizers.rtn import RTN
    from luq.quantizers.sage import SAGE
    from luq.types import OptionError, QuantizationError

__all__ = [
    "AWQ",
    "GPTQ",
    "LUQ",
    "PBLLM",
    "RTN",
    "SAGE",
    "BiLLM",
    "FullPrecision",
    "OptionError",
    "QuantizationError",
    "Quantized",
    "quantize",
    "register",
]

# Imported when they are first used: `import luq` loads neither torch nor scikit-learn.
_MODULES = {
    "AWQ": "luq.quantizers.awq",
    "GPTQ": "luq.quantizers.gptq",
    "LUQ": "luq.pipelines.layerwise",
    "PBLLM": "luq.quantizers.pbllm",
    "RTN": "luq.quantizers.rtn",
    "SAGE": "luq.quantizers.sage",
    "BiLLM": "luq.quantizers.billm",
    "FullPrecision": "luq.quantizers.full_precision",
    "OptionError": "luq.types",
    "QuantizationError": "luq.types",
    "Quantized": "luq.pipelines.face",
    "quantize": "luq.pipelines.face",
    "register": "luq.quantizers.registry",
}


if not TYPE_CHECKING:  # with this definition a type checker would accept every name

    def __getattr__(name: str) -> object:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
