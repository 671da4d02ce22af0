"""Small copies of the pictures that were asked about, for the report: it runs on the store alone,
wherever that was copied to.
"""

from __future__ import annotations

import hashlib
import io
import json
from typing import TYPE_CHECKING

from PIL import Image

from harness.store import digest
from harness.store.store import Store
from reports.report.samples import INDEX, PICTURES

if TYPE_CHECKING:
    from harness.evaluation.picture_suite import Suite

QUESTIONS, SIDE = 500, 320  # of a suite, from its beginning; pixels of the longer side
BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    Image.DecompressionBombError,
)  # what Pillow raises for files that are no pictures


def keep_pictures(store: Store, suite: Suite, count: int) -> str:
    """Key of the entry with the pictures of the first `count` questions, at most QUESTIONS; the
    same picture is kept once.
    """
    count = min(count, QUESTIONS)
    key = digest.of_value([suite.name, suite.data, count, SIDE])
    if store.has(PICTURES, key):
        return key
    files: dict[str, bytes] = {}
    index: dict[str, list[str]] = {}
    docs = suite.task.eval_docs
    for number in range(count):
        try:
            copies = [_small(image) for image in suite.task.doc_to_visual(docs[number])]
        except BROKEN:  # counted and told where the question is asked
            continue
        named = {f"{hashlib.sha256(copy).hexdigest()[:32]}.webp": copy for copy in copies}
        index[str(number)] = list(named)
        files |= named
    with store.creating(PICTURES, key) as folder:
        for name, content in files.items():
            (folder / name).write_bytes(content)
        (folder / INDEX).write_text(json.dumps(index))
    return key


def _small(image: Image.Image) -> bytes:
    copy = image.convert("RGB")
    copy.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    copy.save(buffer, "WEBP", quality=80)
    return buffer.getvalue()
