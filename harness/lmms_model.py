"""The lmms-eval model `luq`: one base model, any variant, batched greedy answers that are kept as they come."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from lmms_eval.api.instance import Instance
from lmms_eval.api.model import lmms
from loguru import logger
from PIL import Image
from transformers import LogitsProcessor, LogitsProcessorList
from transformers.modeling_outputs import BaseModelOutputWithPooling

from harness import digest
from harness.calibration_data import prompt_text
from harness.errors import CellError
from harness.models import LoadedModel
from harness.prepared import Question, batch_inputs, picture_digest
from harness.store import AnswerLog
from luq.apply import applied
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
    """`--model luq --model_args model=mini,variant=luq,k=4,store=runs`: any variant that the harness knows, by its configuration.

    Inside the harness `loaded` is passed and variants are put in from outside; `data` is then the digest of the suite's data, by which
    prepared questions are found again. Answers found in `log` are not asked again; every finished
    batch is added to it. A question that raises is counted in `errors` with its message, gets no answer and is never logged.
    """

    is_simple = True

    def __init__(
        self, variant: str = "luq", model: str = "mini", store: str = "runs", batch_size: int | str = 64, device: str | None = None,
        loaded: LoadedModel | None = None, **overrides: Any,
    ):  # fmt: skip
        super().__init__()
        self._stack = contextlib.ExitStack()
        self.batch_size = int(batch_size)
        self.log: AnswerLog | None = None
        self.errors: dict[str, str] = {}
        self.asked = 0
        self.on_progress: Callable[[int], None] = lambda _count: None
        if loaded is None:
            from harness.app import open_variant

            loaded, quantized = open_variant(variant, model, store, device, overrides)
            self._stack.enter_context(applied(loaded.model, loaded.family, quantized.weights))
        self.loaded = loaded
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
        questions = [self._question(request) for request in requests]
        self.errors = {}
        known = {} if self.log is None else self.log.load()
        answers = {q.key: known[q.key]["response"] for q in questions if q.key in known}
        self.on_progress(sum(q.key in answers for q in questions))
        todo = list({q.key: q for q in questions if q.key not in answers}.values())
        for batch in _batches(todo, self.batch_size):
            fresh = self._answer(batch)
            if self.log is not None and fresh:
                self.log.append({key: {"response": text} for key, text in fresh.items()})
            answers.update(fresh)
            self.on_progress(len(batch))
        if self.log is not None:
            self.log.compact({key: {"response": answers[key]} for key in sorted({q.key for q in questions} & set(answers))} | known)
        # lmms-eval scores strings only: a failed question is scored as silence and counted as an error, see evaluate.py.
        return [answers.get(q.key, "") for q in questions]

    def _question(self, request: Instance) -> Question:
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

            pictures = tuple(map(picture_digest, visuals()))
            prompt = prompt_text(self.loaded, context, len(pictures))
            key = digest.of_value([prompt, pictures, length, stops])
            question = Question(key, f"{task} {doc_id}", prompt, pictures, visuals, length, stops)
            if self.data:
                self.loaded.prepared.asked[place] = question
        self.questions[(task, doc_id)] = question.key
        return question

    def _answer(self, batch: Sequence[Question]) -> dict[str, str]:
        """Answers by key. Where the batch raises, its questions are asked one by one and those that still raise become errors."""
        try:
            return dict(zip([q.key for q in batch], self._generate(batch), strict=True))
        except NonFiniteLogits as error:
            raise CellError(f"{self._locate_non_finite(batch)}; asked were {batch[0].label} to {batch[-1].label}") from error
        except (RuntimeError, ValueError, TypeError, OSError, IndexError, KeyError) as error:
            if len(batch) == 1:
                logger.error(f"{batch[0].label}: {type(error).__name__}: {error}")
                self.errors[batch[0].key] = f"{type(error).__name__}: {error}"
                return {}
            return {key: text for question in batch for key, text in self._answer([question]).items()}

    def _inputs(self, batch: Sequence[Question]) -> dict[str, Any]:
        inputs, features = batch_inputs(self.loaded, batch)
        if not features:
            return dict(inputs)
        encoded: Any = BaseModelOutputWithPooling(pooler_output=features)  # type: ignore[arg-type]  # a list, one tensor a picture
        return {**inputs, "mm_encoder_outputs": {"image": encoded}}

    @torch.inference_mode()
    def _generate(self, batch: Sequence[Question]) -> list[str]:
        inputs = self._inputs(batch)
        tokenizer = self.loaded.processor.tokenizer
        self.asked += len(batch)
        output = self.loaded.model.generate(
            **inputs, max_new_tokens=batch[0].max_new_tokens, do_sample=False, num_beams=1, use_cache=True,
            pad_token_id=tokenizer.pad_token_id, logits_processor=LogitsProcessorList([_RequireFinite()]),
        )  # fmt: skip
        texts = tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
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

        handles = [block.register_forward_hook(watch(i)) for i, block in enumerate(self.loaded.blocks)]
        try:
            self.loaded.model(**self._inputs(batch), use_cache=False)
        finally:
            for handle in handles:
                handle.remove()
        return f"block {found[0]} gives NaN or infinite activations" if found else "NaN or infinite logits behind the last block"


def _batches(questions: Sequence[Question], size: int) -> Iterator[Sequence[Question]]:
    """Batches of like generation arguments, sorted by length so that little is padded."""
    groups: dict[tuple[int, tuple[str, ...]], list[Question]] = {}
    for question in questions:
        groups.setdefault((question.max_new_tokens, question.until), []).append(question)
    for group in groups.values():
        group.sort(key=lambda q: len(q.prompt), reverse=True)
        for start in range(0, len(group), size):
            yield group[start : start + size]


def _cut(text: str, stops: Sequence[str]) -> str:
    for stop in stops:
        text = text.split(stop)[0] if stop else text
    return text
