"""How a prompt is made of a row."""


def picture(doc):
    """The pictures of a question."""
    return [doc["image"].convert("RGB")]


def question(doc, lmms_eval_specific_kwargs=None):
    """The text of a question."""
    return doc["question"]
