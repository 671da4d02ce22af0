"""Which pictures are decoded, in suites and calibration data alike.

Pictures come from data sets of anybody. Pillow knows formats that start a program (PostScript
starts Ghostscript), and would decode pictures that fill the memory.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from PIL import Image

from harness.failures import require_of_a_cell

FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP")
# What Pillow raises for files that are no pictures, or of which a part is missing.
PICTURE_ERRORS = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
MOST_PIXELS = 89_478_485  # a quarter of a GiB as RGB, where Pillow itself begins to warn


@functools.cache
def restrict_pictures() -> None:
    """Let Pillow open nothing but FORMATS, up to MOST_PIXELS, for the rest of this process.

    Other pictures raise PIL.UnidentifiedImageError, larger ones DecompressionBombError.
    """
    Image.init()
    Image.ID[:] = [name for name in Image.ID if name in FORMATS]
    Image.MAX_IMAGE_PIXELS = MOST_PIXELS // 2  # Pillow refuses what has twice as many


class UnreadablePicture(ValueError):
    """The pictures of a row cannot be had; says why."""


def pictures_of(
    to_pictures: Callable[[Any], Sequence[Image.Image]], rows: Any, number: int
) -> list[Image.Image]:
    """The pictures of one row of a data set, in RGB.

    Args:
        to_pictures: Takes them from a row.
        rows: Decodes a row when it is asked for it.
        number: Of the row.

    Raises:
        UnreadablePicture: Whatever that raises: the row may have null, a path, or a list instead.
    """
    try:
        return [picture.convert("RGB") for picture in to_pictures(rows[number])]
    except MemoryError:
        raise
    except Exception as error:
        require_of_a_cell(error)
        raise UnreadablePicture(f"{type(error).__name__}: {error}") from error
