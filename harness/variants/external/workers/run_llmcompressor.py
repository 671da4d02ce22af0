"""llmcompressor: GPTQ by vLLM's own tool."""

from __future__ import annotations

import torch
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from datasets import Dataset
from llmcompressor import oneshot
from llmcompressor.modifiers.quantization import GPTQModifier
from protocol import BLOCK_LINEARS, read_task, write_result
from transformers import AutoModelForCausalLM


def main() -> None:
    """Quantize the task's model with llmcompressor."""
    task = read_task()
    model = AutoModelForCausalLM.from_pretrained(task.model, dtype=torch.float32)
    sequences = task.sequences()
    data = Dataset.from_list(
        [{"input_ids": ids[0].tolist(), "attention_mask": [1] * ids.shape[1]} for ids in sequences]
    )
    arguments = QuantizationArgs(
        num_bits=task.bits, type="int", symmetric=False, strategy="group", group_size=task.group
    )
    scheme = QuantizationScheme(targets=["Linear"], weights=arguments)
    modifier = GPTQModifier(
        config_groups={"group_0": scheme},
        ignore=["lm_head"],
        block_size=128,
        dampening_frac=0.01,
        actorder=None,
    )
    oneshot(
        model=model,
        dataset=data,
        recipe=modifier,
        num_calibration_samples=len(sequences),
        max_seq_length=max(ids.shape[1] for ids in sequences),
        shuffle_calibration_samples=False,
    )
    weights, stored = {}, {}
    for name, module in model.named_modules():
        if any(name.endswith(linear) for linear in BLOCK_LINEARS):
            weights[name] = module.weight
            groups = -(-module.in_features // task.group)
            words = -(-task.bits * module.in_features // 32)
            # Its compressed format: int32 words per row, and a 16-bit scale and a packed zero point
            # per group.
            zeros = -(-task.bits * module.out_features // 32) * groups
            stored[name] = (
                4 * (module.out_features * words + zeros) + 2 * module.out_features * groups
            )
    write_result(task, "llmcompressor", sum(ids.numel() for ids in sequences), weights, stored, {})


if __name__ == "__main__":
    main()
