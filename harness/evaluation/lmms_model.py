"""The lmms-eval model `luq`: one base model, any variant, batched greedy answers that are kept as
they come.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from lmms_eval.api.instance import Instance
from lmms_eval.api.model import lmms
from loguru import logger
from PIL import Image, ImageFile
from transformers import LogitsProcessor, LogitsProcessorList
from transformers.modeling_outputs import BaseModelOutputWithPooling

from harness import distributed
from harness.data.sequences import prompt_text
from harness.errors import CellError, StoreError
from harness.evaluation.inputs import (
    Ahead,
    Question,
    batch_inputs,
    count_tokens,
    look_ahead,
    picture_digest,
)
from harness.evaluation.thumbnails import BROKEN
from harness.models.load import LoadedModel
from harness.store import digest
from harness.store.store import AnswerLog
from luq.decoder.apply import applied
from luq.types import QuantizationError

GENERATION_DEFAULTS = {"max_new_tokens": 64, "until": ()}


class NonFiniteLogits(QuantizationError):
    """The model computed NaN or infinity."""


class _RequireFinite(LogitsProcessor):
    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        if not bool(torch.isfinite(scores).all()):
            raise NonFiniteLogits("the model's logits hold NaN or infinite values")
        return scores


class LuqModel(lmms):
    """`--model luq --model_args model=mini,variant=luq,k=4,store=runs`: any variant that the
    harness knows, by its configuration.

    Inside the harness `loaded` is passed and variants are put in from outside; `data` is then the
    digest of the suite's data, by which prepared questions are found again. Answers found in `log`
    are not asked again; every finished batch is added to it. A question that raises is counted in
    `errors` with its message, gets no answer and is never logged; one whose picture cannot be read
    is not asked and counted in `data_errors`. smallest_batch: what memory allowed, None where it
    was no matter.
    """

    is_simple = True

    def __init__(
        self,
        variant: str = "luq",
        model: str = "mini",
        store: str = "runs",
        batch_size: int | str = 64,
        device: str | None = None,
        loaded: LoadedModel | None = None,
        prefetch: bool | None = None,
        **overrides: Any,
    ):
        super().__init__()
        self.data_errors: dict[tuple[str, int], str] = {}
        self.smallest_batch: int | None = None
        self._stack = contextlib.ExitStack()
        self.batch_size = int(batch_size)
        self.log: AnswerLog | None = None
        self.errors: dict[str, str] = {}
        self.asked = 0
        self.on_progress: Callable[[int], None] = lambda _count: None
        if loaded is None:
            from harness.cli.main import open_variant

            loaded, quantized = open_variant(variant, model, store, device, overrides)
            self._stack.enter_context(applied(loaded.model, loaded.family, quantized.weights))
        self.loaded = loaded
        self.prefetch = loaded.device.type != "cpu" if prefetch is None else prefetch
        self.calibration_pictures: frozenset[str] = frozenset()
        self.questions: dict[tuple[str, int], str] = {}
        self.data = ""

    @property
    def device(self) -> torch.device:
        return self.loaded.device

    def clean(self) -> None:
        """lmms-eval would delete the model here; the next variant needs it."""

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        raise QuantizationError("luq answers by generation; score likelihoods with lm-eval")

    def generate_until_multi_round(self, requests: list[Instance]) -> list[str]:
        raise QuantizationError("luq answers single questions; multi-round tasks are not supported")

    def generate_until(self, requests: list[Instance]) -> list[str]:
        self.errors, self.data_errors, self.smallest_batch = {}, {}, None
        with _whole_pictures():
            asked = [self._question(request) for request in requests]
        questions = [q for q in asked if q is not None]
        known = distributed.gathered({} if self.log is None else self.log.load())[0]
        answers = {q.key: known[q.key]["response"] for q in questions if q.key in known}
        self.on_progress(len(asked) - len(questions) + sum(q.key in answers for q in questions))
        todo = list({q.key: q for q in questions if q.key not in answers}.values())
        answers.update(self._shared(list(_batches(todo, self.batch_size))))
        if self.log is not None and distributed.rank() == 0:
            self.log.compact(
                {
                    key: {"response": answers[key]}
                    for key in sorted({q.key for q in questions} & set(answers))
                }
                | known
            )
        # lmms-eval scores strings only: a failed question is scored as silence and counted as an
        # error, see evaluate.py.
        return [answers.get(q.key, "") if q is not None else "" for q in asked]

    def _shared(self, batches: Sequence[Sequence[Question]]) -> dict[str, str]:
        """Answers of all batches.

        Several processes take turns at them: the batches, and so the answers, are those of one
        alone.
        """
        mine = batches[distributed.rank() :: distributed.count()]
        failure: CellError | None = None
        answers: dict[str, str] = {}
        try:
            for fresh in self._answered(mine):
                answers.update(fresh)
        except CellError as error:
            failure = error
        for other, errors, failed, smallest in distributed.gathered(
            (answers, self.errors, failure, self.smallest_batch)
        ):
            answers, self.errors, failure = (
                {**answers, **other},
                {**self.errors, **errors},
                failure or failed,
            )
            self.smallest_batch = min(
                (size for size in (self.smallest_batch, smallest) if size is not None), default=None
            )
        if failure is not None:
            raise failure
        return answers

    def _answered(self, batches: Sequence[Sequence[Question]]) -> Iterator[dict[str, str]]:
        """Answers of each batch, kept as they come.

        With `prefetch`, the pictures of the next batch are read while one is asked.
        """
        with contextlib.ExitStack() as stack:
            ahead: Future[Ahead] | None = None
            pool = stack.enter_context(ThreadPoolExecutor(1)) if self.prefetch else None
            for number, batch in enumerate(batches):
                ready, ahead = ahead, None
                if pool is not None and number + 1 < len(batches):
                    ahead = pool.submit(look_ahead, self.loaded, batches[number + 1])
                fresh = self._answer(batch, ready)
                if self.log is not None and fresh:
                    self.log.append({key: {"response": text} for key, text in fresh.items()})
                self.on_progress(len(batch))
                yield fresh

    def _question(self, request: Instance) -> Question | None:
        """What is asked; None, and a data error, where a picture cannot be read."""
        context, gen_kwargs, doc_to_visual, doc_id, task, split = request.args
        until = gen_kwargs.get("until", GENERATION_DEFAULTS["until"])
        stops = (until,) if isinstance(until, str) else tuple(until)
        length = int(gen_kwargs.get("max_new_tokens", GENERATION_DEFAULTS["max_new_tokens"]))
        place = (self.data, task, split, doc_id, context, length, stops)
        question = self.loaded.prepared.asked.get(place) if self.data else None
        if question is None:
            docs = self.task_dict[task][split]  # not self: the question outlives this object

            def visuals() -> list[Image.Image]:
                return [image.convert("RGB") for image in doc_to_visual(docs[doc_id])]

            try:
                seen = visuals()
            except BROKEN as error:
                logger.error(
                    f"{task} {doc_id}: its picture cannot be read: {type(error).__name__}: {error}"
                )
                self.data_errors[(task, doc_id)] = f"{type(error).__name__}: {error}"
                return None
            pictures = tuple(map(picture_digest, seen))
            prompt = prompt_text(self.loaded, context, len(pictures))
            key = digest.of_value([prompt, pictures, length, stops])
            size = count_tokens(self.loaded, prompt, [image.size for image in seen])
            question = Question(
                key, f"{task} {doc_id}", prompt, pictures, visuals, length, stops, size
            )
            if self.data:
                self.loaded.prepared.asked[place] = question
        if self.calibration_pictures & set(question.pictures):
            raise CellError(
                f"{task} {doc_id}: its picture is also in the calibration data; a model must not be"
                " calibrated on what it is asked about. Choose other calibration data with"
                " calibration.image_text="
            )
        self.questions[(task, doc_id)] = question.key
        return question

    def _answer(
        self, batch: Sequence[Question], ahead: Future[Ahead] | None = None
    ) -> dict[str, str]:
        """Answers by key.

        A batch that does not fit into memory is halved, and so are those after it. Where it raises
        anything else, its questions are asked one by one and those that still raise become errors.
        """
        if self.smallest_batch is not None and len(batch) > self.smallest_batch:
            parts = [
                batch[i : i + self.smallest_batch]
                for i in range(0, len(batch), self.smallest_batch)
            ]
            return {key: text for part in parts for key, text in self._answer(part).items()}
        try:
            return dict(zip([q.key for q in batch], self._generate(batch, ahead), strict=True))
        except StoreError:
            raise  # of the disk, where vision features rest: no error of a question
        except NonFiniteLogits as error:
            raise CellError(
                f"{self._locate_non_finite(batch)}; asked were {batch[0].label} to"
                f" {batch[-1].label}"
            ) from error
        except (RuntimeError, ValueError, TypeError, OSError, IndexError, KeyError) as error:
            if _out_of_memory(error) and len(batch) > 1:
                self.smallest_batch = len(batch) // 2
                logger.warning(
                    f"out of memory with a batch of {len(batch)}; going on with"
                    f" {self.smallest_batch}. Set batch_size= lower"
                )
                torch.cuda.empty_cache()
                return self._answer(batch)
            if len(batch) == 1:
                logger.error(f"{batch[0].label}: {type(error).__name__}: {error}")
                self.errors[batch[0].key] = f"{type(error).__name__}: {error}"
                return {}
            return {
                key: text for question in batch for key, text in self._answer([question]).items()
            }

    def _inputs(self, batch: Sequence[Question], ahead: Ahead | None = None) -> dict[str, Any]:
        inputs, features = batch_inputs(self.loaded, batch, ahead)
        if not features:
            return dict(inputs)
        encoded: Any = BaseModelOutputWithPooling(pooler_output=features)  # type: ignore[arg-type]  # a list, one tensor a picture
        return {**inputs, "mm_encoder_outputs": {"image": encoded}}

    @torch.inference_mode()
    def _generate(self, batch: Sequence[Question], ahead: Future[Ahead] | None = None) -> list[str]:
        inputs = self._inputs(batch, ahead.result() if ahead is not None else None)
        tokenizer = self.loaded.processor.tokenizer
        self.asked += len(batch)
        output = self.loaded.model.generate(
            **inputs,
            max_new_tokens=batch[0].max_new_tokens,
            do_sample=False,
            num_beams=1,
            use_cache=True,
            pad_token_id=tokenizer.pad_token_id,
            logits_processor=LogitsProcessorList([_RequireFinite()]),
        )
        texts = tokenizer.batch_decode(
            output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True
        )
        return [_cut(text, q.until).strip() for text, q in zip(texts, batch, strict=True)]

    @torch.inference_mode()
    def _locate_non_finite(self, batch: Sequence[Question]) -> str:
        """The first decoder block whose output is not finite on this batch, in words."""
        found: list[int] = []

        def watch(index: int) -> Callable[..., None]:
            def hook(_module: Any, _args: Any, output: Any) -> None:
                state = output[0] if isinstance(output, tuple) else output
                if not bool(torch.isfinite(state).all()):
                    found.append(index)

            return hook

        handles = [
            block.register_forward_hook(watch(i)) for i, block in enumerate(self.loaded.blocks)
        ]
        try:
            self.loaded.model(**self._inputs(batch), use_cache=False)
        finally:
            for handle in handles:
                handle.remove()
        return (
            f"block {found[0]} gives NaN or infinite activations"
            if found
            else "NaN or infinite logits behind the last block"
        )


def _batches(questions: Sequence[Question], size: int) -> Iterator[Sequence[Question]]:
    """Batches of like generation arguments, sorted by length with pictures, so that little is
    padded and the largest come first.
    """
    groups: dict[tuple[int, tuple[str, ...]], list[Question]] = {}
    for question in questions:
        groups.setdefault((question.max_new_tokens, question.until), []).append(question)
    for group in groups.values():
        group.sort(key=lambda q: (q.tokens, len(q.prompt)), reverse=True)
        for start in range(0, len(group), size):
            yield group[start : start + size]


@contextlib.contextmanager
def _whole_pictures() -> Iterator[None]:
    """lmms-eval tells Pillow to take half a picture for a whole one; here it must not."""
    usual, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = usual


def _out_of_memory(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _cut(text: str, stops: Sequence[str]) -> str:
    for stop in stops:
        text = text.split(stop)[0] if stop else text
    return text
