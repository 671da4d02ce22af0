"""The embedded model's card:

`python -m tools.model_card LOG`, run after `python -m tools.mini.train`.

Writes tasks/mini/weights/README.md from what it measures: scores on the nine suites beside the best
constant answers, and what is lost when one decoder block is skipped.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from harness.evaluation.lmms_model import LuqModel
from harness.evaluation.picture_data import mini_data
from harness.evaluation.picture_evaluation import evaluate_suite
from harness.evaluation.picture_suite import PictureSuite, load_suites
from harness.models.load import LoadedModel, load_model
from harness.models.source import WEIGHTS
from harness.paths import EMBEDDED
from harness.store.store import Store
from reports.records.results import SuiteResult
from tasks.mini import suites as mini

NAMES = tuple(f"mini_{suite}" for suite in mini.SUITES)
CONSTANTS = 4  # most frequent answers that are tried as the only answer


@dataclass(frozen=True)
class Share:
    """A suite's score in per cent of what can be had: for MME of perception and cognition together."""

    score: float
    low: float
    high: float


def share(result: SuiteResult) -> Share:
    primary = [m for m in result.metrics if m.primary and m.score is not None]
    total = sum(m.maximum for m in primary)

    def percent(values: list[float | None]) -> float:
        return 100 * sum(v for v in values if v is not None) / total

    return Share(
        percent([m.score for m in primary]),
        percent([m.ci_low for m in primary]),
        percent([m.ci_high for m in primary]),
    )


def best_constant(
    store: Store, loaded: LoadedModel, suite: PictureSuite, limit: int | None
) -> tuple[str, float]:
    """(answer, per cent) of the best of the most frequent gold answers when it is given to every
    question.
    """
    counts: collections.Counter[str] = collections.Counter()
    for doc in suite.task.eval_docs_no_media:
        target = suite.task.doc_to_target(doc)
        counts[str(target[0] if isinstance(target, list) else target)] += 1
    found = []
    for answer, _ in counts.most_common(CONSTANTS):
        lm = LuqModel(loaded=loaded)
        lm._generate = lambda batch, _ahead=None, answer=answer: [answer] * len(batch)  # type: ignore[method-assign,misc]
        _, result = evaluate_suite(
            store, lm, suite, variant=f"constant-{answer}", limit=limit, max_error_share=0.0
        )
        found.append((share(result).score, answer))
    score, answer = max(found)
    return answer, score


@contextlib.contextmanager
def skipped(loaded: LoadedModel, block: int) -> Iterator[None]:
    """The decoder without one of its blocks: its residual stream passes by."""

    def pass_by(
        _module: object, args: tuple[Tensor, ...], kwargs: dict[str, Tensor], _output: object
    ) -> Tensor:
        return args[0] if args else kwargs["hidden_states"]

    handle = loaded.blocks[block].register_forward_hook(pass_by, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def measure(
    store: Store,
    loaded: LoadedModel,
    suites: Mapping[str, PictureSuite],
    variant: str,
    limit: int | None,
) -> dict[str, Share]:
    lm = LuqModel(loaded=loaded, batch_size=64)
    return {
        suite.title: share(
            evaluate_suite(store, lm, suite, variant=variant, limit=limit, max_error_share=0.0)[1]
        )
        for suite in suites.values()
    }


def _mean(scores: Mapping[str, Share]) -> float:
    return sum(s.score for s in scores.values()) / len(scores)


def card(training: Mapping[str, object], limit: int | None, skip_limit: int) -> str:
    loaded = load_model("mini", "mini", "float32", "cpu")
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        suites = load_suites("mini", NAMES, loaded.family.name, mini_data(store, NAMES))
        scores = measure(store, loaded, suites, "full precision", limit)
        constants = {
            suite.title: best_constant(store, loaded, suite, limit) for suite in suites.values()
        }
        whole = _mean(measure(store, loaded, suites, "full precision", skip_limit))
        damage = []
        for block in range(len(loaded.blocks)):
            with skipped(loaded, block):
                damage.append(
                    whole - _mean(measure(store, loaded, suites, f"without {block}", skip_limit))
                )
    table = [
        f"| {t} | {s.score:.1f} [{s.low:.1f}, {s.high:.1f}] | {constants[t][1]:.1f}"
        f" ({constants[t][0]}) |"
        for t, s in scores.items()
    ]
    numbers = " | ".join(str(i) for i in range(len(damage)))
    lost = " | ".join(f"{d:.1f}" for d in damage)
    text = loaded.model.config.text_config
    return CARD.format(
        blocks=len(loaded.blocks),
        width=text.hidden_size,
        intermediate=text.intermediate_size,
        parameters=f"{sum(p.numel() for p in loaded.model.parameters()):,}",
        megabytes=f"{(EMBEDDED / WEIGHTS).stat().st_size / 1e6:.1f}",
        steps=training["step"],
        pictures=f"{int(str(training['sequences'])):,}",
        minutes=f"{float(str(training['seconds'])) / 60:.0f}",
        questions="All" if limit is None else limit,
        constants=CONSTANTS,
        table="\n".join(table),
        mean=f"{_mean(scores):.1f}",
        constant=f"{sum(c[1] for c in constants.values()) / len(constants):.1f}",
        skip_limit=skip_limit,
        numbers=numbers,
        rule="---|" * len(damage),
        lost=lost,
    )


CARD = """# The embedded model

A small LLaVA in the transformers classes `LlavaForConditionalGeneration`, `CLIPVisionModel` and `LlamaModel`: 64-pixel pictures in 16
patches, 3 vision blocks of width 192, a two-layer projector, {blocks} decoder blocks of width {width} (intermediate {intermediate});
{parameters} parameters, {megabytes} MB in bfloat16. `sha256.json` holds a digest of each tensor, checked at every load.

## Data

Drawn by `tasks/mini/scenes.py` and asked by `questions.py`, `mme.py` and `training_data.py` beside it: pictures of five kinds with up to
five questions each, captions of every cell as extra supervision, easier steps on the way to the harder skills, and text (facts, sums,
questions with options, statements to verify). Three of four words on signs are random letters, the others come from a training list;
the words of the evaluation are never among them. Nothing comes from outside. Licence: Apache-2.0, as the repository.

## Training

`python -m tools.mini.train --out FOLDER --compile`: {steps} steps, {pictures} pictures, {minutes} minutes on two CPU cores (AVX-512,
bfloat16 autocast, two single-thread processes) that also did other work; Muon for matrices (peak 2e-3, scaled to AdamW's update size),
AdamW for the rest (1e-3), cosine to 2 %, 100 steps of warm-up. Skills answered wrongly get more of the diet. All blocks are trained from
the start. The run was resumed from its checkpoints at step 600 (a sharper measure of what is answered wrongly), at step
1,800 (text-only statements and four easier questions: `open_variable`, `open_printed`, `open_place`, `other_word`), at step 2,200
(a smaller floor for what is known; glyphs no longer wrap around their cell) and at steps 2,600 and 2,800 (an earlier end of the cosine:
first 4,400 steps were meant, then 3,600, then {steps}).

## Scores

{questions} questions a suite, from seeds and words that training never saw; per cent of what can be had (MME: perception and cognition
together), 95 % intervals over pictures, beside the best constant answer (of the {constants} most frequent).

| suite | score | best constant |
|---|---|---|
{table}
| **mean** | **{mean}** | {constant} |

## Skip-one-block damage

Points of the mean that are lost when one decoder block is skipped ({skip_limit} questions a suite):

| block | {numbers} |
|---|{rule}
| points | {lost} |
"""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log", type=Path, help="log.jsonl of the training run")
    parser.add_argument("--limit", type=int, default=None)
    parser.add_argument("--skip-limit", type=int, default=100)
    arguments = parser.parse_args()
    last = json.loads(arguments.log.read_text().splitlines()[-1])
    (EMBEDDED / "README.md").write_text(card(last, arguments.limit, arguments.skip_limit))
