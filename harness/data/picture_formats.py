"""Which pictures are decoded, in suites and calibration data alike.

Pictures come from data sets of anybody. Pillow knows formats that start a program (PostScript
starts Ghostscript), and would decode pictures that fill the memory.
"""

from __future__ import annotations

import functools

from PIL import Image

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
