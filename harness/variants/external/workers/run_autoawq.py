"""autoawq 0.2.9 (deprecated): AWQ on a CPU."""

from __future__ import annotations

import torch
from awq import AutoAWQForCausalLM
from awq.utils.packing_utils import dequantize_gemm
from protocol import BLOCK_LINEARS, norms, read_task, write_result

# The library saves `state_dict()` with `.cpu()` to undo each trial of its scale search. On the CPU
# that is no copy: the first trial stays in the weights, and the result is far worse than plain
# rounding. A real copy prevents it.
_cpu = torch.Tensor.cpu
torch.Tensor.cpu = lambda tensor, *options: _cpu(tensor, *options).clone()


def main() -> None:
    """Quantize the task's model with autoawq."""
    task = read_task()
    model = AutoAWQForCausalLM.from_pretrained(
        str(task.model), device_map="cpu", torch_dtype=torch.float32, use_cache=False
    )
    sequences = task.sequences()
    tokens = [ids[0].tolist() for ids in sequences]
    length = max(map(len, tokens))
    model.quantize(
        None,
        quant_config={
            "zero_point": True,
            "q_group_size": task.group,
            "w_bit": task.bits,
            "version": "GEMM",
        },
        calib_data=tokens,
        max_calib_samples=len(tokens),
        max_calib_seq_len=length,
        n_parallel_calib_samples=None,
    )
    weights, stored = {}, {}
    for name, module in model.model.named_modules():
        if any(name.endswith(linear) for linear in BLOCK_LINEARS):
            weights[name] = dequantize_gemm(
                module.qweight, module.qzeros, module.scales, module.w_bit, module.group_size
            ).T
            stored[name] = sum(t.nbytes for t in (module.qweight, module.qzeros, module.scales))
    used = sum(map(len, tokens)) // length * length
    write_result(task, "autoawq", used, weights, stored, norms(model.model))


if __name__ == "__main__":
    main()
