"""lm-eval's model for windows of a text, over a model that is loaded."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Callable
from typing import Any

from lm_eval.models.huggingface import HFLM

from harness.errors import CellError
from harness.models.load import LoadedModel
from harness.store import digest
from harness.store.answers import AnswerLog

# What lm-eval asks of a window: names of the texts, tokens of the context, tokens to be predicted.
Window = tuple[Any, list[int], list[int]]


class WindowLM(HFLM):
    """Scores windows of a text; windows that the log has are not scored again.

    Args:
        loaded: The model.
        window: Tokens of a window.
        batch_size: Windows that go through the model at once.
        log: Where log-likelihoods are stored, batch by batch.
        on_progress: Called with the number of windows of each batch that is done.

    Attributes:
        stored: Log-likelihoods by window digest, as in the log.
        losses: Nats per token of each window, in the order of the text.
        scored: How many windows went through the model.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        window: int,
        batch_size: int,
        log: AnswerLog,
        on_progress: Callable[[int], None],
    ):
        with contextlib.redirect_stderr(io.StringIO()):
            super().__init__(
                pretrained=loaded.model,
                tokenizer=loaded.processor.tokenizer,
                max_length=window,
                batch_size=batch_size,
            )
        self.log, self.stored, self.on_progress = log, log.load(), on_progress
        self.losses: list[float] = []
        self.scored = 0

    def _loglikelihood_tokens(
        self, requests: list[Window], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[tuple[float, bool]]:
        keys = [digest.of_value([context, continuation]) for _, context, continuation in requests]
        new = {
            key: request
            for request, key in zip(requests, keys, strict=True)
            if key not in self.stored
        }
        if new:
            self._score(new)
        values = [float(self.stored[key]["loglikelihood"]) for key in keys]
        self.losses += [
            -value / len(request[2]) for value, request in zip(values, requests, strict=True)
        ]
        self.on_progress(len(requests))
        return [(value, False) for value in values]

    def _score(self, windows: dict[str, Window]) -> None:
        """Put windows through the model as one batch, and their likelihoods into the log."""
        results = super()._loglikelihood_tokens(
            list(windows.values()), disable_tqdm=True, override_bs=len(windows)
        )
        self.scored += len(windows)
        if not all(math.isfinite(loglikelihood) for loglikelihood, _ in results):
            raise CellError("the model's likelihood of a window is NaN or infinite")
        fresh = {
            key: {"loglikelihood": loglikelihood}
            for key, (loglikelihood, _) in zip(windows, results, strict=True)
        }
        self.log.append(fresh)
        self.stored.update(fresh)
