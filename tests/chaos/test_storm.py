"""A sweep that is disturbed in every way that can be made at will."""

import os

import pytest

from tests.chaos.storm import storm_over

pytestmark = [pytest.mark.slow, pytest.mark.storm, pytest.mark.timeout(3000)]


def test_r1_twenty_kills_a_full_disk_and_two_flipped_bits_leave_the_store_of_an_undisturbed_sweep(
    tmp_path,
):
    """Prints what happened; `make storm` shows it.

    STORM=seed in the environment draws other moments.
    """
    assert (
        storm_over(
            tmp_path, int(os.environ.get("STORM", "0")), lambda text: print(text, flush=True)
        )
        == []
    )  # noqa: T201
