"""`make bench`, its part on memory: what a process holds after loading a model dense and packed,
and what a packed linear costs in time.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

WIDTH, BLOCKS = 2048, 12
# Peak memory above what the imports take, from the kernel's own count; the outputs' sum shows that
# both compute the same.
CHILD = """
import sys, time
import torch
from accelerate import init_empty_weights
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM
from harness.store.bank import from_tensors
from luq.decoder.families import FAMILIES
from luq.decoder.packed_linear import pack_model
import json
folder, packed, width, blocks = sys.argv[1], sys.argv[2] == "packed", int(sys.argv[3]), int(sys.argv[4])
peak = lambda: 1024 * int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
before = peak()
sizes = dict(hidden_size=width, intermediate_size=width * 11 // 4, num_hidden_layers=blocks, num_attention_heads=16)
config = LlamaConfig(vocab_size=1000, **sizes)
with init_empty_weights(include_buffers=False):
    model = LlamaForCausalLM(config).eval()
if packed:
    meta = json.load(open(folder + "/blocks.json"))
    weights = {i: from_tensors(load_file(f"{folder}/block{i}.safetensors"), meta[str(i)]) for i in range(blocks)}
    pack_model(model, FAMILIES["llama"], weights)
else:
    model.load_state_dict(load_file(folder + "/dense.safetensors"), strict=False, assign=True)
model.load_state_dict(load_file(folder + "/rest.safetensors"), strict=False, assign=True)
ids = torch.arange(32)[None]
with torch.inference_mode():
    total = float(model(input_ids=ids).logits.float().sum())
    began = time.perf_counter()
    model(input_ids=ids)
print(peak() - before, time.perf_counter() - began, total)
"""


def bench_memory() -> None:
    import json

    import torch
    from safetensors.torch import save_file

    from harness.store.bank import to_tensors
    from luq.decoder.blocks import BlockWeights
    from luq.decoder.families import FAMILIES
    from luq.quantizers.registry import RTN
    from luq.types import stored_bytes

    shapes = dict.fromkeys(FAMILIES["llama"].linears, (WIDTH, WIDTH))
    inner = WIDTH * 11 // 4
    shapes |= {
        "mlp.gate_proj": (inner, WIDTH),
        "mlp.up_proj": (inner, WIDTH),
        "mlp.down_proj": (WIDTH, inner),
    }
    with tempfile.TemporaryDirectory() as folder:
        dense, meta, size, count = {}, {}, 0, 0
        for index in range(BLOCKS):
            torch.manual_seed(index)
            linears = {
                name: RTN(4)(torch.randn(shape) * 0.02, None) for name, shape in shapes.items()
            }
            tensors, meta[index] = to_tensors(BlockWeights(dict(linears)))
            save_file(tensors, f"{folder}/block{index}.safetensors")
            size += sum(map(stored_bytes, linears.values()))
            for name, packed in linears.items():
                dense[f"model.layers.{index}.{name}.weight"] = packed.dequantize().bfloat16()
                count += packed.shape[0] * packed.shape[1]
        Path(f"{folder}/blocks.json").write_text(json.dumps(meta))
        save_file(dense, f"{folder}/dense.safetensors")
        norms = {
            f"model.layers.{i}.{n}_layernorm.weight": torch.ones(WIDTH)
            for i in range(BLOCKS)
            for n in ("input", "post_attention")
        }
        rest = {
            name: torch.randn(1000, WIDTH)
            for name in ("model.embed_tokens.weight", "lm_head.weight")
        }
        norms["model.norm.weight"] = torch.ones(WIDTH)
        save_file(
            {name: t.bfloat16() for name, t in (rest | norms).items()}, f"{folder}/rest.safetensors"
        )
        del dense, linears
        figures = {}
        for kind in ("dense", "packed"):
            arguments = [sys.executable, "-c", CHILD, folder, kind, str(WIDTH), str(BLOCKS)]
            output = subprocess.run(
                arguments, capture_output=True, text=True, check=True
            ).stdout.split()
            figures[kind] = [float(x) for x in output]
    (dense_peak, dense_seconds, first), (packed_peak, packed_seconds, second) = (
        figures["dense"],
        figures["packed"],
    )
    print(
        f"Memory of {count / 1e6:.0f} M weights, loaded and run once on 32 tokens: bfloat16"
        f" {dense_peak / 2**20:.0f} MiB, RTN-4 packed {packed_peak / 2**20:.0f} MiB"
        f" ({size / 2**20:.0f} MiB of it stored); ratio {dense_peak / packed_peak:.2f}; a forward"
        f" pass takes {packed_seconds / dense_seconds:.1f} times as long; same outputs:"
        f" {first == second}",
        flush=True,
    )


if __name__ == "__main__":
    bench_memory()
