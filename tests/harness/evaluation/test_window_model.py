"""Windows of a text through lm-eval's model, with a log of their likelihoods."""

import pytest
import torch

from harness.errors import CellError
from harness.evaluation.window_model import WindowLM
from tests.harness.evaluation.test_text_suite import evaluate, loaded, suite_of, text

__all__ = ["loaded", "text"]  # fixtures


def test_a_killed_run_scores_no_window_twice_but_those_of_one_batch(
    loaded, text, store, monkeypatch
):
    suite = suite_of(loaded, text)
    real, scored = WindowLM._model_call, []

    def call(self, inputs, **options):
        if len(scored) == 3:
            raise KeyboardInterrupt
        scored.append(len(inputs))
        return real(self, inputs, **options)

    monkeypatch.setattr(WindowLM, "_model_call", call)
    with pytest.raises(KeyboardInterrupt):
        evaluate(store, loaded, suite, "v", 8)
    monkeypatch.setattr(
        WindowLM,
        "_model_call",
        lambda self, inputs, **o: scored.append(len(inputs)) or real(self, inputs, **o),
    )
    key, result = evaluate(store, loaded, suite, "v", 8)
    assert sum(scored) == 8
    assert evaluate(store, loaded, suite, "v", 8)[0] == key
    assert sum(scored) == 8
    evaluate(store, loaded, suite, "v", 10)  # a larger limit asks what is new
    assert sum(scored) == 10
    assert result.n == 8


def test_a_likelihood_that_is_not_finite_fails_the_cell(loaded, text, store, monkeypatch):
    monkeypatch.setattr(
        WindowLM,
        "_model_call",
        lambda self, inputs, **_: torch.full((*inputs.shape, 290), float("nan")),
    )
    with pytest.raises(CellError, match="NaN or infinite"):
        evaluate(store, loaded, suite_of(loaded, text), "v", 2)
