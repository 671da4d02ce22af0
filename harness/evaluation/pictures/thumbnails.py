"""Small copies of the pictures of questions, for the report: it is made from the store alone."""

from __future__ import annotations

import hashlib
import io
import json

from PIL import Image

from harness.data.picture_formats import UnreadablePicture, pictures_of
from harness.evaluation.pictures.task import PictureTask
from harness.store import digest
from harness.store.store import Store
from reports.records.entries import PICTURES_FILE

QUESTIONS, SIDE = 500, 320  # of a suite, from its beginning; pixels of the longer side


def store_thumbnails(store: Store, suite: PictureTask, count: int) -> str:
    """Store small copies of the pictures of a suite, each picture once.

    Pictures that cannot be read are left out: they are reported where the question is asked.

    Args:
        store: Where to.
        suite: The questions.
        count: How many of the questions; at most QUESTIONS of them.

    Returns:
        Key of the entry.
    """
    count = min(count, QUESTIONS)
    key = digest.of_value([suite.name, suite.data, count, SIDE])
    if store.has("pictures", key):
        return key
    files: dict[str, bytes] = {}
    index: dict[str, list[str]] = {}
    docs = suite.task.eval_docs
    for number in range(count):
        try:
            copies = list(map(_small, pictures_of(suite.task.doc_to_visual, docs, number)))
        except UnreadablePicture:
            continue
        named = {f"{hashlib.sha256(copy).hexdigest()[:32]}.webp": copy for copy in copies}
        index[str(number)] = list(named)
        files |= named
    with store.create("pictures", key) as folder:
        for name, content in files.items():
            (folder / name).write_bytes(content)
        (folder / PICTURES_FILE).write_text(json.dumps(index))
    return key


def _small(image: Image.Image) -> bytes:
    image.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=80)
    return buffer.getvalue()
