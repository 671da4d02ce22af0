"""A suite that draws its own data: a square on a background, two questions a picture."""

import random
from pathlib import Path

import datasets
from PIL import Image

from harness.evaluation.pictures.data import LocalData
from harness.evaluation.pictures.suite import load_suites
from harness.store import digest

TASKS = Path(__file__).parent / "tasks"
COLORS = ("red", "green", "blue", "yellow")
PICTURES = 40
VERSION = 1  # raise it when other pictures or questions are drawn


def draw(seed):
    """Rows of the data set; questions of one picture are neighbours."""
    rng = random.Random(seed)
    for number in range(PICTURES):
        square, background = rng.sample(COLORS, 2)
        picture = Image.new("RGB", (64, 64), background)
        place = (rng.randrange(40), rng.randrange(40))
        picture.paste(Image.new("RGB", (24, 24), square), place)
        for what, color in (("square", square), ("background", background)):
            question = f"what color is the {what} ?"
            yield {"picture": number, "image": picture, "question": question, "answer": color}


def open_suites(settings, loaded, store, seed):
    """The suites of this package; `harness.evaluation.suite.OpenSuites` says what is given."""
    key = digest.of_value(["squares", VERSION, seed])
    if not store.has("data", key):
        with store.create("data", key) as folder:
            table = datasets.Dataset.from_list(list(draw(seed)))
            table = table.cast_column("image", datasets.Image())
            datasets.DatasetDict({"test": table}).save_to_disk(folder)
    names = tuple(settings.tasks)
    data = LocalData(key, tuple((name, store.path("data", key)) for name in names))
    return load_suites(TASKS, names, loaded.family.name, data)
