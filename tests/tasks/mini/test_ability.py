"""What the embedded model must be able to do before its losses can say anything."""

import pytest

from harness.evaluation.pictures.data import mini_data
from harness.evaluation.pictures.suite import load_suites
from harness.store.store import Store
from tools.model_card import NAMES, best_constant, measure, skipped

LIMIT = 120  # questions of a suite; docs/embedded_model.md has all of them


@pytest.fixture(scope="module")
def bench(tmp_path_factory, embedded):
    store = Store(tmp_path_factory.mktemp("ability"))
    suites = load_suites("mini", NAMES, embedded.family.name, mini_data(store, NAMES))
    return store, suites, measure(store, embedded, suites, "full precision", LIMIT)


@pytest.mark.parametrize("name", NAMES)
def test_every_suite_lies_well_above_the_best_constant_answer(bench, embedded, name):
    store, suites, scores = bench
    _, constant = best_constant(store, embedded, suites[name], LIMIT)
    assert scores[suites[name].title].low >= constant + 15


def test_the_mean_over_suites_is_at_least_75_per_cent(bench):
    _, _, scores = bench
    assert sum(s.score for s in scores.values()) / len(scores) >= 75


@pytest.mark.slow
def test_no_block_is_dead_weight(bench, embedded):
    """Skipping any one block costs points: a model with idle blocks would flatter every layer-wise
    method.
    """
    store, suites, _ = bench
    some = {
        name: suites[name] for name in ("mini_vqav2", "mini_gqa", "mini_docvqa", "mini_mathvista")
    }
    whole = measure(store, embedded, some, "full precision", 60)
    for block in range(len(embedded.blocks)):
        with skipped(embedded, block):
            without = measure(store, embedded, some, f"without {block}", 60)
        assert sum(without[t].score for t in whole) < sum(s.score for s in whole.values()) - 4, (
            block
        )
