"""Batches of questions."""

from harness.evaluation.inputs import batches
from harness.models.prepared import Question


def question(label, tokens, length=8):
    return Question(label, label, label, (), list, length, (), tokens)


def test_batches_share_generation_settings_and_begin_with_the_longest():
    questions = [question("a", 3), question("b", 9), question("c", 5), question("d", 7, length=2)]
    found = [[one.label for one in batch] for batch in batches(questions, 2)]
    assert found == [["b", "c"], ["a"], ["d"]]
