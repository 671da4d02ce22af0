"""A model for lmms-eval: batched greedy answers, which are stored batch by batch."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from lmms_eval.api.instance import Instance
from lmms_eval.api.model import lmms
from loguru import logger
from PIL import Image, ImageFile
from transformers import LogitsProcessorList
from transformers.modeling_outputs import BaseModelOutputWithPooling

from harness import distributed
from harness.data.picture_formats import UnreadablePicture, pictures_of
from harness.errors import CellError, StoreError
from harness.evaluation.inputs import (
    Ahead,
    batch_inputs,
    batches,
    count_tokens,
    look_ahead,
)
from harness.evaluation.non_finite import NonFiniteLogits, RequireFinite, locate_non_finite
from harness.models.load import LoadedModel
from harness.models.prepared import Question
from harness.models.prompt import prompt_text
from harness.store import digest
from harness.store.answers import AnswerLog
from luq.types import QuantizationError
from reports.records.results import Status

GENERATION_DEFAULTS = {"max_new_tokens": 64, "until": ()}


class LuqModel(lmms):
    """Answers lmms-eval's questions with the variant that is in a loaded model.

    Args:
        loaded: The model. Whoever calls puts the weights of variants into it.
        batch_size: How many questions go through the model at once.
        prefetch: Whether the pictures of the next batch are read while the model works on one; None
            for yes on a GPU.

    Attributes:
        log: Answers that are in it are not generated again, new ones are added; None for no log.
        data: Digest of the suite's data, by which prepared questions are cached; "" for no cache.
        calibration_pictures: Digests of pictures that no question may have.
        on_progress: Called with a number of questions whenever so many more are done.
        generated: How many questions went through the model.
        errors: By question digest, why the model raised an exception. Such a question has no answer
            and is not logged.
        data_errors: By task and number, why the picture of a question cannot be read. Such a
            question does not reach the model.
        smallest_batch: What memory allowed; None where it allowed `batch_size`.
        questions: Question digests by task and number.
    """

    is_simple = True

    def __init__(
        self, loaded: LoadedModel, batch_size: int = 64, prefetch: bool | None = None
    ) -> None:
        super().__init__()
        self.loaded, self.batch_size = loaded, batch_size
        self.prefetch = loaded.device.type != "cpu" if prefetch is None else prefetch
        self.log: AnswerLog | None = None
        self.data = ""
        self.calibration_pictures: frozenset[str] = frozenset()
        self.on_progress: Callable[[int], None] = lambda _count: None
        self.generated = 0
        self.errors: dict[str, str] = {}
        self.data_errors: dict[tuple[str, int], str] = {}
        self.smallest_batch: int | None = None
        self.questions: dict[tuple[str, int], str] = {}

    @property
    def device(self) -> torch.device:
        """Where the model takes its inputs."""
        return self.loaded.device

    def clean(self) -> None:
        """Do nothing: lmms-eval would delete the model here, and the next variant needs it."""

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Not supported.

        Raises:
            QuantizationError: Always.
        """
        raise QuantizationError("luq answers by generation; score likelihoods with lm-eval")

    def generate_until_multi_round(self, requests: list[Instance]) -> list[str]:
        """Not supported.

        Raises:
            QuantizationError: Always.
        """
        raise QuantizationError("luq answers single questions; multi-round tasks are not supported")

    def failure(self, task: str, number: int) -> Status | None:
        """Why a question of the last call of `generate_until` has no answer; None where it has."""
        if (task, number) in self.data_errors:
            return "data_error"
        return "error" if self.questions[task, number] in self.errors else None

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """Answers in the order of the requests; "" for those that failed, see `failure`.

        Raises:
            CellError: Activations are not finite, or a picture is also in the calibration data.
            StoreError: Answers cannot be stored.
        """
        self.errors, self.data_errors, self.smallest_batch = {}, {}, None
        with _whole_pictures():
            prepared = [self._question(request) for request in requests]
        questions = [question for question in prepared if question is not None]
        logged = distributed.gather({} if self.log is None else self.log.load())[0]
        answers = {q.key: logged[q.key]["response"] for q in questions if q.key in logged}
        unreadable = len(prepared) - len(questions)
        self.on_progress(unreadable + sum(q.key in answers for q in questions))
        todo = list({q.key: q for q in questions if q.key not in answers}.values())
        answers.update(self._shared(list(batches(todo, self.batch_size))))
        if self.log is not None and distributed.rank() == 0:
            keys = sorted({q.key for q in questions} & set(answers))
            self.log.compact({key: {"response": answers[key]} for key in keys} | logged)
        # lmms-eval scores strings only: a failed question is scored as an empty answer.
        return [answers.get(q.key, "") if q is not None else "" for q in prepared]

    def _shared(self, batches: Sequence[Sequence[Question]]) -> dict[str, str]:
        """Answers of all batches, of which each of several processes takes its share.

        The batches are those of one process alone, and so are the answers.
        """
        failure: CellError | None = None
        answers: dict[str, str] = {}
        try:
            for fresh in self._answers(batches[distributed.rank() :: distributed.world_size()]):
                answers.update(fresh)
        except CellError as error:
            failure = error
        shares = distributed.gather((answers, self.errors, failure, self.smallest_batch))
        failure = next((share[2] for share in shares if share[2] is not None), None)
        if failure is not None:
            raise failure
        self.smallest_batch = min(
            (share[3] for share in shares if share[3] is not None), default=None
        )
        self.errors = {key: error for share in shares for key, error in share[1].items()}
        return {key: text for share in shares for key, text in share[0].items()}

    def _answers(self, batches: Sequence[Sequence[Question]]) -> Iterator[dict[str, str]]:
        """Answers of each batch, stored before the next batch begins."""
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
        """The question of a request; None, and a data error, where a picture cannot be read."""
        context, options, doc_to_visual, number, task, split = request.args
        until = options.get("until", GENERATION_DEFAULTS["until"])
        stops = (until,) if isinstance(until, str) else tuple(until)
        length = int(options.get("max_new_tokens", GENERATION_DEFAULTS["max_new_tokens"]))
        place = (self.data, task, split, number, context, length, stops)
        question = self.loaded.prepared.questions.get(place) if self.data else None
        if question is None:
            docs = self.task_dict[task][split]  # not self: the question outlives this object

            def visuals() -> list[Image.Image]:
                return pictures_of(doc_to_visual, docs, number)

            try:
                images = visuals()
            except UnreadablePicture as error:
                logger.error(f"{task} {number}: its picture cannot be read: {error}")
                self.data_errors[task, number] = str(error)
                return None
            pictures = tuple(map(digest.of_picture, images))
            prompt = prompt_text(self.loaded.processor, context, len(pictures))
            key = digest.of_value([prompt, pictures, length, stops])
            size = count_tokens(self.loaded, prompt, [image.size for image in images])
            label = f"{task} {number}"
            question = Question(key, label, prompt, pictures, visuals, length, stops, size)
            if self.data:
                self.loaded.prepared.questions[place] = question
        if self.calibration_pictures & set(question.pictures):
            raise CellError(
                f"{task} {number}: its picture is also in the calibration data; a model must not be"
                " calibrated on what it is asked about. Choose other calibration data with"
                " calibration.image_text="
            )
        self.questions[task, number] = question.key
        return question

    def _answer(
        self, batch: Sequence[Question], ahead: Future[Ahead] | None = None
    ) -> dict[str, str]:
        """Answers by key.

        A batch that does not fit into memory is halved, and so are those after it. Of a batch that
        raises anything else the questions are asked one by one; those that still raise become
        errors.
        """
        size = self.smallest_batch
        if size is not None and len(batch) > size:
            return self._answer_parts([batch[i : i + size] for i in range(0, len(batch), size)])
        try:
            return dict(zip([q.key for q in batch], self._generate(batch, ahead), strict=True))
        except StoreError:
            raise  # of the disk that holds vision features: no error of a question
        except (
            NonFiniteLogits,
            RuntimeError,
            ValueError,
            TypeError,
            OSError,
            IndexError,
            KeyError,
        ) as error:
            finite = not isinstance(error, NonFiniteLogits)
            full, reason = _out_of_memory(error), f"{type(error).__name__}: {error}"
        # Only here is the exception gone, and with its frames every tensor of the failed batch.
        ahead = None
        if not finite:
            place = locate_non_finite(self.loaded, self._inputs(batch))
            raise CellError(f"{place} on {batch[0].label} to {batch[-1].label}")
        if len(batch) == 1:
            logger.error(f"{batch[0].label}: {reason}")
            self.errors[batch[0].key] = reason
            return {}
        if not full:
            return self._answer_parts([[question] for question in batch])
        self.smallest_batch = len(batch) // 2
        logger.warning(
            f"out of memory with a batch of {len(batch)}; going on with {self.smallest_batch}. Set"
            " batch_size= lower"
        )
        gc.collect()  # an exception that is part of a circle keeps its frames until then
        torch.cuda.empty_cache()
        return self._answer(batch)

    def _answer_parts(self, parts: Sequence[Sequence[Question]]) -> dict[str, str]:
        return {key: text for part in parts for key, text in self._answer(part).items()}

    @torch.inference_mode()
    def _generate(self, batch: Sequence[Question], ahead: Future[Ahead] | None = None) -> list[str]:
        inputs = self._inputs(batch, ahead.result() if ahead is not None else None)
        tokenizer = self.loaded.processor.tokenizer
        self.generated += len(batch)
        output = self.loaded.model.generate(
            **inputs,
            max_new_tokens=batch[0].max_new_tokens,
            do_sample=False,
            num_beams=1,
            use_cache=True,
            pad_token_id=tokenizer.pad_token_id,
            logits_processor=LogitsProcessorList([RequireFinite()]),
        )
        texts = tokenizer.batch_decode(
            output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True
        )
        return [_cut(text, q.until).strip() for text, q in zip(texts, batch, strict=True)]

    def _inputs(self, batch: Sequence[Question], ahead: Ahead | None = None) -> dict[str, Any]:
        inputs, features = batch_inputs(self.loaded, batch, ahead)
        if not features:
            return dict(inputs)
        encoded: Any = BaseModelOutputWithPooling(pooler_output=features)  # type: ignore[arg-type]  # a list, one tensor a picture
        return {**inputs, "mm_encoder_outputs": {"image": encoded}}


@contextlib.contextmanager
def _whole_pictures() -> Iterator[None]:
    """Let Pillow refuse files that end early, which lmms-eval tells it to accept."""
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
