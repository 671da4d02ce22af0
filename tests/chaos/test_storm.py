"""A sweep that is disturbed in every way that a test can arrange."""

import os

import pytest

from tests.chaos.storm import storm_over

pytestmark = [pytest.mark.slow, pytest.mark.storm, pytest.mark.timeout(3000)]


def test_r1_twenty_kills_a_full_disk_and_two_flipped_bits_leave_the_store_of_an_undisturbed_sweep(
    tmp_path,
):
    """Prints what happens; `make storm` shows it. STORM=seed draws other moments."""
    seed = int(os.environ.get("STORM", "0"))
    assert storm_over(tmp_path, seed, lambda text: print(text, flush=True)) == []  # noqa: T201
