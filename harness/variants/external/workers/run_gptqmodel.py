"""gptqmodel: plain GPTQ by the maintained successor of auto-gptq (its group-aware order is off)."""

from __future__ import annotations

import os

os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")
from gptqmodel import GPTQModel, QuantizeConfig
from protocol import read_task, unpack_gptq, write_result


def main() -> None:
    """Quantize the task's model with gptqmodel."""
    task = read_task()
    config = QuantizeConfig(
        format="gptq",
        bits=task.bits,
        group_size=task.group,
        desc_act=False,
        act_group_aware=False,
        sym=False,
        damp_percent=0.01,
        device="cpu",
        offload_to_disk=False,
    )
    model = GPTQModel.load(str(task.model), config)
    sequences = task.sequences()
    examples = [
        {"input_ids": ids[0].tolist(), "attention_mask": [1] * ids.shape[1]} for ids in sequences
    ]
    model.quantize(examples, batch_size=1)
    weights, stored = unpack_gptq(model.model, task.bits)
    write_result(task, "gptqmodel", sum(ids.numel() for ids in sequences), weights, stored, {})


if __name__ == "__main__":
    main()
