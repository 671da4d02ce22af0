"""auto-gptq 0.7.1 (unmaintained): GPTQ on a CPU."""

from __future__ import annotations

import torch
from protocol import read_task, unpack_gptq, write_result
from transformers import AutoModelForCausalLM

# The library calls CUDA at every step; the algorithm needs none.
torch.cuda.synchronize = lambda *_: None
torch.cuda.empty_cache = lambda: None
import auto_gptq.modeling._base as base  # noqa: E402
from auto_gptq import BaseQuantizeConfig  # noqa: E402
from auto_gptq.modeling.llama import LlamaGPTQForCausalLM  # noqa: E402


def main() -> None:
    """Quantize the task's model with auto-gptq."""
    task = read_task()
    base.CUDA_0 = torch.device("cpu")
    model = AutoModelForCausalLM.from_pretrained(task.model, torch_dtype=torch.float32)
    config = BaseQuantizeConfig(
        bits=task.bits,
        group_size=task.group,
        desc_act=False,
        sym=False,
        damp_percent=0.01,
        true_sequential=True,
    )
    quantizer = LlamaGPTQForCausalLM(model, False, config)
    sequences = task.sequences()
    examples = [{"input_ids": ids, "attention_mask": torch.ones_like(ids)} for ids in sequences]
    quantizer.quantize(examples, batch_size=1, use_triton=False, cache_examples_on_gpu=False)
    weights, stored = unpack_gptq(model, task.bits)
    write_result(task, "auto-gptq", sum(ids.numel() for ids in sequences), weights, stored, {})


if __name__ == "__main__":
    main()
