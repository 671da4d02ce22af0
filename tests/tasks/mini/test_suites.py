"""The rows of the nine suites."""

import hashlib
import json

import numpy as np
import pytest

from tasks.mini.suites import SUITES, suite_rows

# Of 40 rows of each suite without their pictures, whose pixels depend on Pillow's version. Where
# one changes, stored results of the same key are no longer comparable: raise `suites.VERSION`.
DIGESTS = {
    "mme": "08cd113e755d8839",
    "mmbench": "296bbde9f700d89e",
    "textvqa": "520300e949dd0798",
    "vqav2": "cb3299ce352388c7",
    "gqa": "b783872af4968a28",
    "pope": "f6350565de46737c",
    "chartqa": "70e72974c6ad2d4b",
    "docvqa": "6c1da940e1188bf5",
    "mathvista": "34f0feec9c59b086",
}


def test_yes_and_no_are_balanced():
    rows = suite_rows("pope", 300, seed=5) + suite_rows("mme", 300, seed=5)
    assert np.mean([row["answer"].lower() == "yes" for row in rows]) == 0.5


@pytest.mark.parametrize("suite", SUITES)
def test_a_suite_is_drawn_alike_from_a_seed_and_keeps_its_groups_whole(suite):
    first, second = (suite_rows(suite, 21, seed=7) for _ in range(2))
    picture = SUITES[suite].picture
    for a, b in zip(first, second, strict=True):
        assert a.pop(picture).tobytes() == b.pop(picture).tobytes()
        assert a == b
    assert len(first) >= 21
    if suite == "mme":
        assert all(
            a["question_id"] == b["question_id"]
            for a, b in zip(first[::2], first[1::2], strict=True)
        )
    if suite == "mmbench":
        assert len(first) % 4 == 0


def test_circular_groups_rotate_the_same_options_and_answers_follow():
    rows = suite_rows("mmbench", 40, seed=3)
    for group in zip(*[iter(rows)] * 4, strict=True):
        assert len({row["index"] % 1_000_000 for row in group}) == 1
        assert len({row[row["answer"]] for row in group}) == 1
        assert {row["answer"] for row in group} == set("ABCD")


@pytest.mark.parametrize("suite", SUITES)
def test_a_version_draws_the_same_rows_for_ever(suite):
    rows = suite_rows(suite, 40)
    for row in rows:
        del row[SUITES[suite].picture]
    assert hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16] == DIGESTS[suite]
