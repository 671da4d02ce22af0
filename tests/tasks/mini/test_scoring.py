"""What answers say, and how they are scored, where lmms-eval does not decide it."""

import pytest

from tasks.mini import scoring


@pytest.mark.parametrize(
    ("response", "said"),
    [
        ("Yes", "yes"),
        ("Yes.", "yes"),
        ("yes!", "yes"),
        ("  YES\n", "yes"),
        ("Yes, a kettle stands on the stove.", "yes"),
        ("The answer is yes.", "yes"),
        ("Yes. I can not see a second one.", "yes"),
        ("Yes\nIs it red? No", "yes"),
        ("No", "no"),
        ("No!", "no"),
        ("NO.", "no"),
        ("no, nothing of the kind is on the table", "no"),
        ("There is no kettle in this picture.", "no"),
        ("A kettle is not visible. Yes", "no"),
        ("", None),
        (" \n", None),
        ("...", None),
        ("kettle", None),
        ("Yesterday", None),
        ("nothing", None),
        ("ye ye ye", None),
    ],
)
def test_a_pope_answer_is_read_by_the_words_of_its_first_sentence(response, said):
    assert scoring.pope_reading(response, {}) == said


def scored(response, gold):
    doc = {"question_id": "7", "answer": gold, "category": "popular"}
    return scoring.pope_results(doc, [response])


def test_popes_primary_score_reads_sentences_and_lmms_evals_own_stays_beside_it():
    results = scored("Yes, there is a kettle.", "Yes")
    assert scoring.pope_mean_f1([results["pope_mean_f1"]]) == 1
    assert results["pope_f1_score"]["score"] == 0


def test_silence_and_babble_are_right_for_no_question_of_pope():
    for response in ("", "kettle kettle"):
        records = [scored(response, gold)["pope_mean_f1"] for gold in ("yes", "no")]
        assert [one["score"] for one in records] == [0, 0]
        assert scoring.pope_mean_f1([*records, scored("yes", "yes")["pope_mean_f1"]]) == 2 / 3
