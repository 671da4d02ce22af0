"""`python -m tools.mini.train --out FOLDER`: train an embedded model, one process a core.

The same command resumes from FOLDER, which gets the checkpoints, the log and the model; what a step
sees depends on its number alone, so that a run in several sittings is one in a single sitting. On a
GPU one process trains.

Matrices are trained with Muon (Jordan et al. 2024; torch's implementation, each process
orthogonalising its share of them), everything else with AdamW, under a cosine; gradients are
averaged over the processes; forward and backward run in bfloat16 autocast.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import spawn
from torch.nn import functional

from tasks.mini.questions.skills import SKILL_NAMES
from tasks.mini.world.facts import World
from tasks.mini.world.language import build_tokenizer
from tasks.mini.world.pictures import SMALL, Size
from tools.mini.deep_model import build_deep_model, build_deep_processor, build_deep_tokenizer
from tools.mini.layout import Layout, LlavaLayout, QwenLayout
from tools.mini.model import build_model, build_processor
from tools.mini.training_data import FACT_NAMES, IGNORED, Diet, Floats, Row, TrainingRows, collate

LOG_EVERY, SAVE_EVERY = 25, 200  # steps; the diet is brought up to date with the log
SAVE_SECONDS = 500.0  # after so many a checkpoint is written at the next line of the log


@dataclass(frozen=True)
class Recipe:
    """An embedded model that can be trained.

    Attributes:
        tokenizer: Builds it.
        processor: Builds it from the tokenizer.
        model: Builds it from the tokenizer, with random weights.
        layout: Its form, made from the processor.
        sizes: Of pictures.
        people: Whose facts it learns by heart, if any.
        people_share: Of what it sees.
        mask: The form in which its decoder takes a mask.
    """

    tokenizer: Callable[[], Any]
    processor: Callable[[Any], Any]
    model: Callable[[Any], Any]
    layout: Callable[[Any], Layout]
    sizes: tuple[Size, ...] = (SMALL,)
    people: World | None = None
    people_share: float = 0.0
    mask: Callable[[Tensor], Any] = lambda mask: mask


DEEP_SIZES = tuple((rows, columns) for rows in (4, 6, 9, 14) for columns in (4, 6, 9, 14))
RECIPES: Mapping[str, Recipe] = {
    "mini": Recipe(build_tokenizer, build_processor, build_model, LlavaLayout),
    "mini_deep": Recipe(
        build_deep_tokenizer,
        build_deep_processor,
        build_deep_model,
        QwenLayout,
        DEEP_SIZES,
        World(8192),
        0.4,
        lambda mask: {"full_attention": mask},
    ),
}


@dataclass(frozen=True)
class Options:
    """The command's options; `parse_options` describes them."""

    out: Path
    model: str
    steps: int
    stop_after_seconds: float
    rows: int
    length: int
    lr: float
    adam_lr: float
    warmup: int
    processes: int
    seed: int
    compile: bool


def parse_options() -> Options:
    """The options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.mini.train", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="checkpoint and model folder")
    parser.add_argument("--model", choices=list(RECIPES), default="mini")
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument(
        "--stop-after-seconds",
        type=float,
        default=math.inf,
        help="save and stop, to be resumed later",
    )
    parser.add_argument("--rows", type=int, default=32, help="rows a step and process")
    parser.add_argument(
        "--length", type=int, default=128, help="tokens a row; a picture has one for each cell"
    )
    parser.add_argument(
        "--lr", type=float, default=2e-3, help="peak rate of Muon (scaled to AdamW's update size)"
    )
    parser.add_argument("--adam-lr", type=float, default=1e-3)
    parser.add_argument("--warmup", type=int, default=100)
    parser.add_argument(
        "--processes",
        type=int,
        default=1 if torch.cuda.is_available() else os.cpu_count() or 1,
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compile", action="store_true")
    arguments = parser.parse_args()
    return Options(**{field.name: getattr(arguments, field.name) for field in fields(Options)})


def rate(step: int, steps: int, warmup: int) -> float:
    """Share of the peak rate: linear warm-up, then a cosine to 2 %."""
    if step < warmup:
        return (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, steps - warmup))
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress))


def split_parameters(
    model: torch.nn.Module,
) -> tuple[list[torch.nn.Parameter], list[torch.nn.Parameter]]:
    """What Muon trains, and what AdamW trains.

    Returns:
        Matrices of blocks and projector; everything else: embeddings, head, norms, biases, patch
        convolution.
    """
    matrices: list[torch.nn.Parameter] = []
    others: list[torch.nn.Parameter] = []
    for name, parameter in model.named_parameters():
        inner = parameter.ndim == 2 and "embed" not in name and "lm_head" not in name
        (matrices if inner else others).append(parameter)
    return matrices, others


def average_gradients(parameters: list[torch.nn.Parameter], processes: int) -> None:
    """Replace every gradient by its mean over the processes."""
    if processes == 1:
        return
    flat = torch.cat(
        [(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in parameters]
    )
    dist.all_reduce(flat)
    means = (flat / processes).split([p.numel() for p in parameters])
    for parameter, mean in zip(parameters, means, strict=True):
        parameter.grad = mean.view_as(parameter)


def count_by_skill(predicted: Tensor, batch: dict[str, Tensor], skills: int) -> Floats:
    """Tokens predicted rightly, and all tokens of answers, by skill.

    Args:
        predicted: Most likely next tokens, (B, T - 1).
        batch: Of `collate`.
        skills: How many there are.

    Returns:
        (2, skills).
    """
    skill, labels = batch["skill"][:, 1:], batch["labels"][:, 1:]
    mask = skill >= 0
    counts = np.zeros((2, skills))
    np.add.at(counts[0], skill[mask].numpy(), (predicted == labels)[mask].double().numpy())
    np.add.at(counts[1], skill[mask].numpy(), 1.0)
    return counts


class Trainer:
    """One of the processes that train the model together.

    Attributes:
        step: Steps that are done.
        seconds: Of training, over all runs.
        sequences: Pictures that the model has seen.
        diet: How often each skill is drawn.
    """

    def __init__(self, options: Options, rank: int):
        torch.manual_seed(options.seed)
        self.options, self.rank, self.recipe = options, rank, RECIPES[options.model]
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        tokenizer = self.recipe.tokenizer()
        self.processor = self.recipe.processor(tokenizer)
        self.layout = self.recipe.layout(self.processor)
        self.model = self.recipe.model(tokenizer).to(self.device)
        self.matrices, self.others = split_parameters(self.model)
        self.muon = torch.optim.Muon(
            self.matrices[rank :: options.processes],
            lr=options.lr,
            weight_decay=0.01,
            momentum=0.95,
            adjust_lr_fn="match_rms_adamw",
        )
        self.adam = torch.optim.AdamW(
            self.others, lr=options.adam_lr, betas=(0.9, 0.95), weight_decay=0.0
        )
        self.step, self.seconds, self.sequences = 0, 0.0, 0
        recipe = self.recipe
        self.diet = Diet((*SKILL_NAMES, *FACT_NAMES) if recipe.people else SKILL_NAMES)
        self.stream = TrainingRows(
            self.layout,
            options.length,
            options.seed,
            self.diet,
            sizes=recipe.sizes,
            people=recipe.people,
            people_share=recipe.people_share,
        )
        self.checkpoint = options.out / f"checkpoint-{rank}.pt"
        if self.checkpoint.exists():
            self._resume()
        # Short rows: plain attention is faster on a CPU than the fused kernel's backward pass.
        self.model.set_attn_implementation("eager")
        if options.compile:
            text = self.model.model.language_model
            text.forward = torch.compile(text.forward, dynamic=False)

    def train(self) -> None:
        """Train until the last step, or until the time is up."""
        options = self.options
        began, seconds_before = time.monotonic(), self.seconds
        counts = np.zeros((2, len(self.diet.names)))
        losses: list[float] = []
        saved = seconds_before
        while self.step < options.steps:
            rows = self._rows()
            batch = collate(rows, options.length, self.layout)
            loss, predicted = self._update(batch)
            self.step += 1
            self.sequences += options.processes * sum(len(row.images) for row in rows)
            losses.append(loss)
            counts += count_by_skill(predicted, batch, len(self.diet.names))
            last = self.step == options.steps
            if self.step % LOG_EVERY and not last:
                continue
            self._synchronize(counts, seconds_before + time.monotonic() - began)
            if self.rank == 0:
                self._log(losses)
            counts[:] = 0
            losses.clear()
            stop = self.seconds - seconds_before > options.stop_after_seconds
            late = self.seconds - saved > SAVE_SECONDS
            if self.step % SAVE_EVERY == 0 or last or stop or late:
                self._save()
                saved = self.seconds
            if stop:
                break

    def _rows(self) -> list[Row]:
        """The rows of the next step, which depend on its number and the diet alone."""
        options = self.options
        self.stream.rng.seed(f"{options.seed}-{self.rank}-{self.step}")
        return list(itertools.islice(self.stream, options.rows))

    def _update(self, batch: dict[str, Tensor]) -> tuple[float, Tensor]:
        """One step of both optimizers: the loss, and the most likely next tokens before it."""
        options = self.options
        share = rate(self.step, options.steps, options.warmup)
        for optimizer, peak in ((self.muon, options.lr), (self.adam, options.adam_lr)):
            for group in optimizer.param_groups:
                group["lr"] = peak * share
        logits = self._logits(batch)
        loss = functional.cross_entropy(
            logits.reshape(-1, logits.shape[-1]),
            batch["labels"][:, 1:].reshape(-1).to(self.device),
            ignore_index=IGNORED,
        )
        loss.backward()
        average_gradients([*self.matrices, *self.others], options.processes)
        torch.nn.utils.clip_grad_norm_([*self.matrices, *self.others], 1.0)
        self.muon.step()
        self.adam.step()
        for i, matrix in enumerate(self.matrices):
            if options.processes > 1:
                dist.broadcast(matrix.data, src=i % options.processes)
            matrix.grad = None
        self.adam.zero_grad(set_to_none=True)
        return loss.item(), logits.detach().argmax(-1).cpu()

    def _logits(self, batch: dict[str, Tensor]) -> Tensor:
        """Of the next token, (B, T - 1, vocabulary) float32."""
        hidden = torch.finfo(torch.bfloat16).min
        arguments = {
            name: tensor.to(self.device)
            for name, tensor in batch.items()
            if name not in ("labels", "skill", "attention")
        }
        mask = torch.where(batch["attention"].to(self.device), 0.0, hidden)
        with torch.autocast(self.device.type, torch.bfloat16):
            logits: Tensor = self.model(
                **arguments, attention_mask=self.recipe.mask(mask), use_cache=False
            ).logits
        return logits[:, :-1].float()

    def _synchronize(self, counts: Floats, seconds: float) -> None:
        """Bring diet and clock up to date, the same in every process."""
        total, clock = torch.from_numpy(counts), torch.tensor(seconds)
        if self.options.processes > 1:
            dist.all_reduce(total)
            dist.broadcast(clock, src=0)
        self.diet.update(total[0].numpy(), total[1].numpy())
        self.seconds = float(clock)

    def _log(self, losses: list[float]) -> None:
        accuracy = zip(self.diet.names, self.diet.accuracy, strict=True)
        entry = {
            "step": self.step,
            "seconds": round(self.seconds),
            "sequences": self.sequences,
            "loss": round(float(np.mean(losses)), 4),
            **{name: round(float(share), 2) for name, share in accuracy},
        }
        with (self.options.out / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(entry) + "\n")
        mean = round(float(self.diet.accuracy.mean()), 3)
        print(entry["step"], entry["seconds"], entry["loss"], mean, flush=True)

    def _save(self) -> None:
        state: dict[str, Any] = {
            "model": self.model.state_dict(),
            "muon": self.muon.state_dict(),
            "adam": self.adam.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "accuracy": dict(zip(self.diet.names, self.diet.accuracy.tolist(), strict=True)),
            "sequences": self.sequences,
        }
        partial = self.checkpoint.with_suffix(".tmp")
        torch.save(state, partial)
        partial.rename(self.checkpoint)
        if self.rank == 0:
            folder = self.options.out / "model"
            self.model.bfloat16().save_pretrained(folder)
            self.processor.save_pretrained(folder)
            self.model.float().load_state_dict(state["model"])

    def _resume(self) -> None:
        state = torch.load(self.checkpoint, map_location=self.device, weights_only=False)
        self.model.load_state_dict(state["model"])
        self.muon.load_state_dict(state["muon"])
        self.adam.load_state_dict(state["adam"])
        self.step, self.seconds = state["step"], state["seconds"]
        self.sequences = state["sequences"]
        # By name: a skill that is new since the checkpoint starts as unknown.
        accuracy = [state["accuracy"].get(name, 0.0) for name in self.diet.names]
        self.diet.accuracy = np.array(accuracy)


def train(rank: int, options: Options) -> None:
    """Run one process of the training."""
    torch.set_num_threads(1)
    if options.processes == 1:
        Trainer(options, rank).train()
        return
    port = os.environ.get("MASTER_PORT", "29511")
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    dist.init_process_group("gloo", rank=rank, world_size=options.processes)
    Trainer(options, rank).train()
    dist.destroy_process_group()


def main() -> None:
    """Train with the options of the command line."""
    options = parse_options()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.processes > 1:
        spawn(train, args=(options,), nprocs=options.processes)
    else:
        train(0, options)


if __name__ == "__main__":
    main()
