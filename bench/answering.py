"""`python -m bench`, its part on answers: our batches versus lmms-eval's own wrapper."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import sys
import tempfile
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lmms_eval.api.model import lmms
from lmms_eval.evaluator import evaluate as lmms_evaluate

from bench.ratios import Ratio
from harness.evaluation.lmms_model import LuqModel
from harness.evaluation.pictures.data import mini_data
from harness.evaluation.pictures.evaluation import evaluate_suite
from harness.evaluation.pictures.suite import PictureSuite, load_suites
from harness.models.load import LoadedModel, load_model
from harness.models.prepared import PreparedInputs
from harness.paths import EMBEDDED
from harness.store.store import Store

SUITE, QUESTIONS = "mini_gqa", 256
# The embedded model's prompt for a wrapper that puts the picture's token into the question itself.
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}USER: {{ message['content'] }} {% endfor"
    " %}ASSISTANT:"
)


def bench_answering(repeats: int) -> None:
    """Print the ratio of lmms-eval's llava_hf at batch 1 to ours at batch 64, on questions of GQA.

    Ours is measured for a model's first variant, which prepares prompts and vision features, and
    for a later one. All answers must be the same.
    """
    loaded = load_model("mini", "mini", "float32", "cpu")
    first: list[float] = []
    later: list[float] = []
    answers: set[tuple[str, ...]] = set()
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        data = mini_data(store, [SUITE])
        suite = load_suites("mini", (SUITE,), loaded.family.name, data)[SUITE]
        wrapper = _llava_hf()
        for number in range(repeats):
            reference, seconds = _reference_answers(wrapper, suite)
            answers.add(reference)
            unprepared = dataclasses.replace(loaded, prepared=PreparedInputs())
            for ratios, kind in ((first, "first"), (later, "later")):
                ours, our_seconds = _our_answers(store, unprepared, suite, f"{number}-{kind}")
                ratios.append(seconds / our_seconds)
                answers.add(ours)
    for ratios, kind in ((first, "a model's first variant"), (later, "later variants")):
        print(
            f"{QUESTIONS} questions of GQA, lmms-eval's llava_hf at batch 1 / ours, {kind}:"
            f" {Ratio.of(ratios)}; same answers: {len(answers) == 1}",
            flush=True,
        )


def _our_answers(
    store: Store, loaded: LoadedModel, suite: PictureSuite, variant: str
) -> tuple[tuple[str, ...], float]:
    """Answers and seconds. variant: a name that no earlier run has, so that nothing is cached."""
    began = time.perf_counter()
    lm = LuqModel(loaded=loaded, batch_size=64)
    _, result = evaluate_suite(
        store, lm, suite, variant=variant, limit=QUESTIONS, max_error_share=0.0
    )
    seconds = time.perf_counter() - began
    return tuple(answer.response for answer in result.answers), seconds


def _reference_answers(wrapper: lmms, suite: PictureSuite) -> tuple[tuple[str, ...], float]:
    """Answers and seconds of lmms-eval's own loop."""
    began = time.perf_counter()
    arguments = argparse.Namespace(process_with_media=False, output_path=None, reasoning_tags=None)
    wrapper.task_dict = {suite.name: suite.task.dataset}
    with _silent():
        output = lmms_evaluate(
            wrapper,
            {suite.name: suite.task},
            limit=QUESTIONS,
            bootstrap_iters=0,
            log_samples=True,
            cli_args=arguments,
            verbosity="ERROR",
            process_docs_parallel=1,
        )
    samples = sorted(output["samples"][suite.name], key=lambda sample: int(sample["doc_id"]))
    answers = tuple(str(sample["filtered_resps"][0]).strip() for sample in samples)
    return answers, time.perf_counter() - began


def _llava_hf() -> Any:
    """lmms-eval's own wrapper.

    It imports decord, a reader of videos that it does not need here and that it does not require.
    """
    if "decord" not in sys.modules:
        decord = types.ModuleType("decord")
        decord.__dict__.update(VideoReader=None, cpu=None)
        sys.modules["decord"] = decord
    from lmms_eval.models.simple.llava_hf import LlavaHf

    class ReusableLlavaHf(LlavaHf):
        def clean(self) -> None:
            """Leave the model in memory: lmms-eval deletes it after the first run."""

    with _silent():
        return ReusableLlavaHf(
            pretrained=str(EMBEDDED),
            device="cpu",
            device_map="cpu",
            dtype="float32",
            batch_size=1,
            chat_template=TEMPLATE,
        )


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
