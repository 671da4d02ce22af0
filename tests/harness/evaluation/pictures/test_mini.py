"""Mini suites: other seeds draw other questions, and one split is left to choose settings by."""

import pytest

from harness.config.schema import SuiteConfig
from harness.errors import ConfigError
from harness.evaluation.pictures.data import mini_data
from harness.evaluation.pictures.mini import SEED_STEP, open_suites
from tasks.mini import suites as mini


@pytest.fixture(autouse=True)
def few_questions(monkeypatch):
    real = mini.suite_dataset
    monkeypatch.setattr(mini, "suite_dataset", lambda suite, **o: real(suite, **o, count=12))
    monkeypatch.setattr(mini, "QUESTIONS", 12)


def opened(embedded, store, seed=0):
    settings = SuiteConfig("mini_pope", "mini", ["mini_pope"], batch_size=8)
    return open_suites(settings, embedded, store, seed)["mini_pope"]


def pictures(suite):
    return {row["image"].tobytes() for row in suite.task.eval_docs}


def test_seed_0_draws_what_is_reported_and_the_gates_seeds_draw_others(embedded, store):
    reported = opened(embedded, store)
    assert reported.data == f"{mini_data(store, ['mini_pope']).identity}-1.0"
    others = [opened(embedded, store, seed) for seed in (1, 2)]
    assert len({suite.data for suite in (reported, *others)}) == 3
    seed = mini.SEED + 2 * SEED_STEP
    assert others[1].data == f"{mini_data(store, ['mini_pope'], seed).identity}-1.0"


def test_the_selection_split_shares_no_picture_with_the_reported_questions(embedded, store):
    reported = opened(embedded, store)
    selection = reported.select("selection")
    assert selection.name == reported.name
    assert selection.data != reported.data
    assert not pictures(reported) & pictures(selection)


@pytest.mark.parametrize("split", ["test", "validation"])
def test_no_other_split_can_be_chosen_by(embedded, store, split):
    with pytest.raises(ConfigError, match=r"the mini suites have `selection` for this"):
        opened(embedded, store).select(split)
