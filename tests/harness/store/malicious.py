"""Files that nobody should open carelessly."""

import os
import pickle
import tempfile
from pathlib import Path

CANARY = Path(tempfile.gettempdir()) / f"luq-canary-{os.getpid()}"


class Canary:
    """What a malicious pickle would do."""

    def __reduce__(self):
        return (Path.touch, (CANARY,))


FILES = {
    "pickle": pickle.dumps(Canary()),
    "deep": b"[" * 100_000,
    "twice": b'{"sha256": {}, "sha256": {}, "meta": {}}',
    "nan": b"NaN",
    "text": b"\xff\xfe",
}
