"""Trains the embedded model:

`python -m tools.mini.train --out FOLDER`. One process a core; resumes from FOLDER by the same
command.

Matrices are trained with Muon (Jordan et al. 2024; torch's implementation, each process
orthogonalising its share of them), everything else with AdamW, under a cosine; gradients are
averaged over the processes; forward and backward run in bfloat16 autocast.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import math
import os
import time
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn import functional

from tasks.mini.language import build_tokenizer
from tools.mini.model import build_model, build_processor
from tools.mini.training_data import IGNORED, SKILL_NAMES, Diet, TrainingRows, collate

LOG_EVERY, SAVE_EVERY = 25, 200


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="checkpoint and model folder")
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument(
        "--stop-after-seconds",
        type=float,
        default=math.inf,
        help="save and stop, to be resumed later",
    )
    parser.add_argument("--rows", type=int, default=32, help="rows a step and process")
    parser.add_argument("--length", type=int, default=128, help="tokens a row")
    parser.add_argument(
        "--lr", type=float, default=2e-3, help="peak rate of Muon (scaled to AdamW's update size)"
    )
    parser.add_argument("--adam-lr", type=float, default=1e-3)
    parser.add_argument("--warmup", type=int, default=100)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compile", action="store_true")
    return parser.parse_args()


def rate(step: int, steps: int, warmup: int) -> float:
    """Share of the peak rate: linear warm-up, then a cosine to 2 %."""
    if step < warmup:
        return (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, steps - warmup))
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress))


def split_parameters(
    model: torch.nn.Module,
) -> tuple[list[torch.nn.Parameter], list[torch.nn.Parameter]]:
    """(matrices of blocks and projector, everything else: embeddings, head, norms, biases, patch
    convolution).
    """
    matrices, rest = [], []
    for name, parameter in model.named_parameters():
        inner = parameter.ndim == 2 and "embed" not in name and "lm_head" not in name
        (matrices if inner else rest).append(parameter)
    return matrices, rest


def average_gradients(parameters: list[torch.nn.Parameter], world: int) -> None:
    if world == 1:
        return
    flat = torch.cat(
        [(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in parameters]
    )
    dist.all_reduce(flat)
    for p, mean in zip(
        parameters, (flat / world).split([p.numel() for p in parameters]), strict=True
    ):
        p.grad = mean.view_as(p)


def answer_statistics(
    predicted: torch.Tensor, batch: dict[str, torch.Tensor]
) -> tuple[np.ndarray, np.ndarray]:
    """Token accuracy by skill: (right, asked), each (skills,)."""
    skill, labels = batch["skill"][:, 1:], batch["labels"][:, 1:]
    mask = skill >= 0
    right, asked = np.zeros(len(SKILL_NAMES)), np.zeros(len(SKILL_NAMES))
    hit = (predicted == labels)[mask].double().numpy()
    np.add.at(asked, skill[mask].numpy(), 1.0)
    np.add.at(right, skill[mask].numpy(), hit)
    return right, asked


def main(rank: int, args: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    world = args.processes
    if world > 1:
        os.environ.update(
            MASTER_ADDR="127.0.0.1", MASTER_PORT=os.environ.get("MASTER_PORT", "29511")
        )
        dist.init_process_group("gloo", rank=rank, world_size=world)
    torch.manual_seed(args.seed)
    tokenizer = build_tokenizer()
    processor = build_processor(tokenizer)
    model = build_model(tokenizer)
    matrices, rest = split_parameters(model)
    owned = matrices[rank::world]
    muon = torch.optim.Muon(
        owned, lr=args.lr, weight_decay=0.01, momentum=0.95, adjust_lr_fn="match_rms_adamw"
    )
    adam = torch.optim.AdamW(rest, lr=args.adam_lr, betas=(0.9, 0.95), weight_decay=0.0)
    start, seconds, sequences = 0, 0.0, 0
    diet = Diet()
    checkpoint = args.out / f"checkpoint-{rank}.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=False)
        model.load_state_dict(state["model"])
        muon.load_state_dict(state["muon"])
        adam.load_state_dict(state["adam"])
        start, seconds, sequences = state["step"], state["seconds"], state["sequences"]
        # By name: a skill that is new since the checkpoint starts as unknown.
        diet.accuracy = np.array([state["accuracy"].get(name, 0.0) for name in SKILL_NAMES])
    # Short rows: plain attention is faster on a CPU than the fused kernel's backward pass.
    model.set_attn_implementation("eager")
    if args.compile:
        text = model.model.language_model
        text.forward = torch.compile(text.forward, dynamic=False)
    # The data's seed holds the step at which this stretch began: a resumed run does not repeat its
    # rows.
    stream = iter(TrainingRows(processor, args.length, hash((args.seed, rank, start)), diet))
    began = time.monotonic()
    totals = np.zeros((2, len(SKILL_NAMES)))
    losses: list[float] = []
    for step in range(start, args.steps):
        for group in (*muon.param_groups, *adam.param_groups):
            group["lr"] = (args.lr if group in muon.param_groups else args.adam_lr) * rate(
                step, args.steps, args.warmup
            )
        rows = list(itertools.islice(stream, args.rows))
        batch = collate(rows, args.length, tokenizer.pad_token_id, processor.image_processor)
        sequences += world * sum(len(r.images) for r in rows)
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(
                input_ids=batch["input_ids"],
                pixel_values=batch["pixel_values"],
                attention_mask=torch.where(
                    batch["attention"], 0.0, torch.finfo(torch.bfloat16).min
                ),
                position_ids=batch["position_ids"],
                use_cache=False,
            ).logits
        logits = logits[:, :-1].float()
        loss = functional.cross_entropy(
            logits.reshape(-1, logits.shape[-1]),
            batch["labels"][:, 1:].reshape(-1),
            ignore_index=IGNORED,
        )
        loss.backward()
        average_gradients([*matrices, *rest], world)
        torch.nn.utils.clip_grad_norm_([*matrices, *rest], 1.0)
        muon.step()
        adam.step()
        for i, matrix in enumerate(matrices):
            if world > 1:
                dist.broadcast(matrix.data, src=i % world)
            matrix.grad = None
        adam.zero_grad(set_to_none=True)
        losses.append(loss.item())
        totals += answer_statistics(logits.detach().argmax(-1), batch)
        if (step + 1) % LOG_EVERY == 0:
            shared = torch.from_numpy(totals)
            spent = torch.tensor(seconds + time.monotonic() - began)
            if world > 1:
                dist.all_reduce(shared)
                dist.broadcast(spent, src=0)
            diet.update(shared[0].numpy(), shared[1].numpy())
            if rank == 0:
                _log(args, step + 1, float(spent), sequences, losses, diet)
            totals[:] = 0
            losses.clear()
            stop = float(spent) - seconds > args.stop_after_seconds
            if (step + 1) % SAVE_EVERY == 0 or step + 1 == args.steps or stop:
                state = {
                    "model": model.state_dict(),
                    "muon": muon.state_dict(),
                    "adam": adam.state_dict(),
                    "step": step + 1,
                }
                state |= {
                    "seconds": float(spent),
                    "accuracy": dict(zip(SKILL_NAMES, diet.accuracy.tolist(), strict=True)),
                    "sequences": sequences,
                }
                partial = checkpoint.with_suffix(".tmp")
                torch.save(state, partial)
                partial.rename(checkpoint)
                if rank == 0:
                    model.to(torch.bfloat16).save_pretrained(args.out / "model")
                    processor.save_pretrained(args.out / "model")
                    model.float().load_state_dict(state["model"])
            if stop:
                break
    with contextlib.suppress(ValueError):
        dist.destroy_process_group()


def _log(
    args: argparse.Namespace,
    step: int,
    seconds: float,
    sequences: int,
    losses: list[float],
    diet: Diet,
) -> None:
    skills = {name: round(float(a), 2) for name, a in zip(SKILL_NAMES, diet.accuracy, strict=True)}
    entry = {
        "step": step,
        "seconds": round(seconds),
        "sequences": sequences,
        "loss": round(float(np.mean(losses)), 4),
        **skills,
    }
    with (args.out / "log.jsonl").open("a") as log:
        log.write(json.dumps(entry) + "\n")
    print(
        entry["step"],
        entry["seconds"],
        entry["loss"],
        round(float(diet.accuracy.mean()), 3),
        flush=True,
    )


if __name__ == "__main__":
    arguments = parse_arguments()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.processes > 1:
        mp.spawn(main, args=(arguments,), nprocs=arguments.processes)
    else:
        main(0, arguments)
