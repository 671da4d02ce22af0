"""`python -m tools.model_card LOG`: the card of the embedded model, tasks/mini/weights/README.md.

LOG is the log of `python -m tools.mini.train`. The card says what this measures: scores on the nine
suites versus the best constant answers, and what is lost when one decoder block is skipped.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from harness.evaluation.lmms_model import LuqModel
from harness.evaluation.pictures.data import mini_data
from harness.evaluation.pictures.evaluation import evaluate_suite
from harness.evaluation.pictures.suite import PictureSuite, load_suites
from harness.models.folder import WEIGHTS
from harness.models.load import LoadedModel, load_model
from harness.paths import EMBEDDED
from harness.store.store import Store
from reports.records.results import SuiteResult
from tasks.mini import suites as mini

NAMES = tuple(f"mini_{suite}" for suite in mini.SUITES)
CONSTANTS = 4  # most frequent answers that are tried as the only answer


@dataclass(frozen=True)
class Percent:
    """A suite's score in per cent of its maximum; MME's is perception and cognition together.

    Attributes:
        score: Of all questions.
        low: Lower end of the 95 % interval.
        high: Upper end.
    """

    score: float
    low: float
    high: float


def percent(result: SuiteResult) -> Percent:
    """The primary metrics of a result, added up."""
    metrics = [metric for metric in result.metrics if metric.primary and metric.score is not None]
    maximum = sum(metric.maximum for metric in metrics)

    def share(values: Sequence[float | None]) -> float:
        return 100 * sum(value for value in values if value is not None) / maximum

    return Percent(
        share([metric.score for metric in metrics]),
        share([metric.ci_low for metric in metrics]),
        share([metric.ci_high for metric in metrics]),
    )


class ConstantModel(LuqModel):
    """Gives the same answer to every question."""

    def __init__(self, loaded: LoadedModel, answer: str):
        super().__init__(loaded=loaded)
        self.answer = answer

    def _generate(self, batch: Sequence[Any], ahead: Future[Any] | None = None) -> list[str]:
        return [self.answer] * len(batch)


def best_constant(
    store: Store, loaded: LoadedModel, suite: PictureSuite, limit: int | None
) -> tuple[str, float]:
    """The best of the most frequent gold answers when it is given to every question.

    Args:
        store: Where results are stored.
        loaded: Prepares the questions; its weights do not matter.
        suite: That is answered.
        limit: Number of questions, None for all.

    Returns:
        The answer, and its score in per cent.
    """
    counts: collections.Counter[str] = collections.Counter()
    for doc in suite.task.eval_docs_no_media:
        target = suite.task.doc_to_target(doc)
        counts[str(target[0] if isinstance(target, list) else target)] += 1
    scores = []
    for answer, _ in counts.most_common(CONSTANTS):
        lm, variant = ConstantModel(loaded, answer), f"constant-{answer}"
        _, result = evaluate_suite(
            store, lm, suite, variant=variant, limit=limit, max_error_share=0.0
        )
        scores.append((percent(result).score, answer))
    score, answer = max(scores)
    return answer, score


@contextlib.contextmanager
def skipped(loaded: LoadedModel, block: int) -> Iterator[None]:
    """Leave one of the decoder's blocks out: what goes in comes out."""

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
) -> dict[str, Percent]:
    """Scores by title of the suite.

    Args:
        store: Where results are stored.
        loaded: The model that answers.
        suites: By name.
        variant: A name for the weights in the model, by which results are stored.
        limit: Number of questions of each suite, None for all.
    """
    lm = LuqModel(loaded=loaded, batch_size=64)
    results = (
        evaluate_suite(store, lm, suite, variant=variant, limit=limit, max_error_share=0.0)[1]
        for suite in suites.values()
    )
    return {result.suite_title: percent(result) for result in results}


def _mean(scores: Mapping[str, Percent]) -> float:
    return sum(score.score for score in scores.values()) / len(scores)


def card(training: Mapping[str, Any], limit: int | None, skip_limit: int) -> str:
    """Measure the embedded model, and say it in Markdown.

    Args:
        training: Last line of the training's log.
        limit: Number of questions of each suite, None for all.
        skip_limit: The same for a model with a block left out.
    """
    loaded = load_model("mini", "mini", "float32", "cpu")
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        suites = load_suites("mini", NAMES, loaded.family.name, mini_data(store, NAMES))
        scores = measure(store, loaded, suites, "full precision", limit)
        constants = {
            suite.title: best_constant(store, loaded, suite, limit) for suite in suites.values()
        }
        losses = _losses(store, loaded, suites, skip_limit)
    text = loaded.model.config.text_config
    return CARD.format(
        blocks=len(loaded.blocks),
        width=text.hidden_size,
        intermediate=text.intermediate_size,
        parameters=f"{sum(p.numel() for p in loaded.model.parameters()):,}",
        megabytes=f"{(EMBEDDED / WEIGHTS).stat().st_size / 1e6:.1f}",
        steps=training["step"],
        pictures=f"{training['sequences']:,}",
        minutes=f"{training['seconds'] / 60:.0f}",
        questions="All" if limit is None else limit,
        constants=CONSTANTS,
        table="\n".join(_rows(scores, constants)),
        mean=f"{_mean(scores):.1f}",
        constant=f"{sum(score for _, score in constants.values()) / len(constants):.1f}",
        skip_limit=skip_limit,
        numbers=" | ".join(str(block) for block in range(len(losses))),
        rule="---|" * len(losses),
        losses=" | ".join(f"{loss:.1f}" for loss in losses),
    )


def _losses(
    store: Store, loaded: LoadedModel, suites: Mapping[str, PictureSuite], limit: int
) -> list[float]:
    """Points of the mean over suites that are lost without each block."""
    complete = _mean(measure(store, loaded, suites, "full precision", limit))
    losses = []
    for block in range(len(loaded.blocks)):
        with skipped(loaded, block):
            scores = measure(store, loaded, suites, f"without {block}", limit)
        losses.append(complete - _mean(scores))
    return losses


def _rows(
    scores: Mapping[str, Percent], constants: Mapping[str, tuple[str, float]]
) -> Iterator[str]:
    for title, score in scores.items():
        answer, constant = constants[title]
        interval = f"[{score.low:.1f}, {score.high:.1f}]"
        yield f"| {title} | {score.score:.1f} {interval} | {constant:.1f} ({answer}) |"


CARD = """\
# The embedded model

A small LLaVA in the transformers classes `LlavaForConditionalGeneration`, `CLIPVisionModel` and
`LlamaModel`: 64-pixel pictures in 16 patches, 3 vision blocks of width 192, a two-layer projector,
{blocks} decoder blocks of width {width} (intermediate {intermediate}); {parameters} parameters,
{megabytes} MB in bfloat16. `sha256.json` has a digest of each tensor, checked at every load.

## Data

The pictures are those of `tasks/mini/world`, the questions those of `tasks/mini/questions`;
`tools/mini/training_data.py` packs them into rows. Pictures of five kinds have up to five questions
each: those of the suites, captions of every cell as extra supervision, and easier steps on the way
to the harder skills (`training.py`). Rows also have text: facts, sums, questions with options,
statements to verify (`tools/mini/drills.py`). Three of four words on signs are random letters, the
others come from a training list; the words of the evaluation are never among them. Nothing comes
from outside. Licence: Apache-2.0, as the repository.

## Training

`python -m tools.mini.train --out FOLDER --compile`: {steps} steps, {pictures} pictures, {minutes}
minutes on two CPU cores (AVX-512, bfloat16 autocast, two single-thread processes) that also did
other work; Muon for matrices (peak 2e-3, scaled to AdamW's update size), AdamW for the rest (1e-3),
cosine to 2 %, 100 steps of warm-up. Skills answered wrongly are drawn more often. All blocks are
trained from the start. The run was resumed from its checkpoints at step 600 (a sharper measure of
what is answered wrongly), at step 1,800 (text-only statements and four easier questions:
`open_variable`, `open_printed`, `open_place`, `other_word`), at step 2,200 (a smaller floor for
what is known; glyphs no longer wrap around their cell) and at steps 2,600 and 2,800 (an earlier end
of the cosine: planned were 4,400 steps at first, then 3,600, then {steps}).

## Scores

{questions} questions of each suite, from seeds and words that training never saw; per cent of the
maximum (MME: perception and cognition together), 95 % intervals over pictures, versus the best
constant answer (of the {constants} most frequent).

| suite | score | best constant |
|---|---|---|
{table}
| **mean** | **{mean}** | {constant} |

## What each block is worth

Points of the mean that are lost when one decoder block is skipped ({skip_limit} questions of each
suite):

| block | {numbers} |
|---|{rule}
| points | {losses} |
"""


def main() -> None:
    """Write the card."""
    parser = argparse.ArgumentParser(prog="python -m tools.model_card", description=__doc__)
    parser.add_argument("log", type=Path, metavar="LOG", help="log.jsonl of the training")
    parser.add_argument("--limit", type=int, help="questions of each suite; all by default")
    parser.add_argument("--skip-limit", type=int, default=100, help="the same without a block")
    arguments = parser.parse_args()
    last = json.loads(arguments.log.read_text(encoding="utf-8").splitlines()[-1])
    text = card(last, arguments.limit, arguments.skip_limit)
    (EMBEDDED / "README.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
