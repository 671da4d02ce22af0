"""Questions and answers agree with the pictures, and are made of the tokenizer's words."""

import random

from tasks.mini.questions.skills import SKILLS
from tasks.mini.world import language
from tasks.mini.world.sampling import random_picture


def sample_questions(seed, count=400):
    rng = random.Random(seed)
    words = language.words_on_signs(held_out=True)
    while count:
        kind, skill = rng.choice(list(SKILLS.values()))
        picture = random_picture(kind, rng, lambda: rng.choice(words))
        question = skill(picture, rng)
        if question is not None:
            count -= 1
            yield picture, question


def test_every_question_and_answer_is_made_of_known_tokens_and_decodes_to_itself():
    tokenizer = language.build_tokenizer()
    for _, question in sample_questions(0):
        ids = tokenizer.encode(question.prompt + " " + question.target)
        assert tokenizer.unk_token_id not in ids, question
        if question.suite not in ("caption", "auxiliary"):
            assert tokenizer.decode(tokenizer.encode(question.target)) == question.target


def test_relations_and_counts_agree_with_the_picture():
    for picture, question in sample_questions(3, 600):
        if question.category == "number" and " red " in question.text:
            assert question.answer == str(sum(t.color == "red" for t in picture.things))
        if question.suite == "gqa" and question.text.startswith("What is left of"):
            anchor = next(
                t for t in picture.things if t.kind == question.text.split()[-1].rstrip("?")
            )
            (left,) = [
                t for t in picture.things if (t.row, t.column) == (anchor.row, anchor.column - 1)
            ]
            assert left.kind == question.answer
