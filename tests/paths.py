"""Where tests find what they compare with."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "tests" / "data"
SHARED = (
    ROOT.parent / "shared"
)  # real tokenizers, questions and texts, which are not part of the project
