"""No picture starts a program or fills the memory."""

import subprocess
import sys

import pytest

SCRIPT = """
import io, sys
STARTS = ("subprocess.Popen", "os.posix_spawn", "os.exec")
sys.addaudithook(lambda event, _: event in STARTS and sys.exit(9))
from PIL import Image
from harness.data.picture_formats import PICTURE_ERRORS, restrict_pictures
restrict_pictures()
kind = sys.argv[1]
if kind == "postscript":
    content = b"%!PS-Adobe-3.0 EPSF-3.0\\n%%BoundingBox: 0 0 10 10\\n%%EndComments\\n%%EOF\\n"
elif kind == "large":
    buffer = io.BytesIO()
    Image.new("1", (9500, 9500)).save(buffer, "PNG")
    content = buffer.getvalue()
else:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(buffer, kind)
    content = buffer.getvalue()
try:
    print(Image.open(io.BytesIO(content)).convert("RGB").size)
except PICTURE_ERRORS as error:
    print(type(error).__name__)
"""


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("postscript", "UnidentifiedImageError"),
        ("PCX", "UnidentifiedImageError"),
        ("large", "DecompressionBombError"),
        ("PNG", "(8, 8)"),
        ("JPEG", "(8, 8)"),
        ("WEBP", "(8, 8)"),
        ("TIFF", "(8, 8)"),
    ],
)
def test_r40_pictures_are_decoded_by_a_list_of_formats_and_up_to_a_size(kind, said):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, kind], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, said), done.stderr
