import pytest

from luq.allocation.search import bisect_k, scan_k, smallest_within


def counted(acceptable):
    calls = []
    return calls, lambda k: calls.append(k) or acceptable(k)


@pytest.mark.parametrize("blocks", [1, 8, 28, 32])
def test_bisection_finds_every_threshold_of_a_falling_score_in_few_evaluations(blocks):
    for answer in range(blocks + 1):
        calls, acceptable = counted(lambda k, answer=answer: k <= answer)
        assert (
            bisect_k(blocks, acceptable)
            == scan_k(blocks, lambda k, answer=answer: k <= answer)
            == answer
        )
        assert len(calls) <= 1 + (blocks + 1).bit_length()
        assert len(set(calls)) == len(calls)


def test_where_the_score_rises_again_only_the_scan_sees_it():
    scores = [9, 8, 7, 3, 3, 3, 3, 8, 2]
    assert bisect_k(8, lambda k: scores[k] >= 6) == 2
    assert scan_k(8, lambda k: scores[k] >= 6) == 7


def test_a_threshold_that_nothing_reaches_is_no_k():
    assert bisect_k(8, lambda k: False) is None
    assert scan_k(8, lambda k: False) is None


def test_the_smallest_k_within_a_budget_is_minimal():
    sizes = [100, 90, 80, 70]
    assert [smallest_within(sizes, budget) for budget in (100, 99, 90, 85, 70)] == [0, 1, 1, 2, 3]
    with pytest.raises(ValueError, match="below the smallest model, which has 70"):
        smallest_within(sizes, 69)
