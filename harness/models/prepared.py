"""What is prepared once for all variants of a model: questions, tokens and vision features.

Variants differ in the decoder's weights alone, so that everything in front of it is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from PIL import Image
from torch import Tensor

from harness.models.vision_cache import VisionCache


@dataclass(frozen=True)
class Question:
    """One request to a model.

    Attributes:
        key: Digest of the prompt, the pictures and the generation settings.
        label: Names the question in messages.
        prompt: In the model's chat form, see `harness.models.prompt`.
        pictures: Digest of each picture.
        visuals: Loads the pictures. It is called when the model has to look at them.
        max_new_tokens: Length at which the answer ends.
        until: Texts at which the answer ends.
        tokens: Estimated length of the prompt with its pictures, by which batches are sorted.
    """

    key: str
    label: str
    prompt: str
    pictures: tuple[str, ...]
    visuals: Callable[[], list[Image.Image]]
    max_new_tokens: int
    until: tuple[str, ...]
    tokens: int = 0


@dataclass
class PreparedInputs:
    """Inputs of one loaded model, filled as they are needed.

    Attributes:
        questions: By everything that identifies a request.
        rows: What the processor gives for each token of an unpadded prompt: by prompt and digests
            of the pictures, tensors of shape (tokens,) by name.
        features: Vision features of pictures.
    """

    questions: dict[Hashable, Question] = field(default_factory=dict)
    rows: dict[tuple[str, tuple[str, ...]], dict[str, Tensor]] = field(default_factory=dict)
    features: VisionCache = field(default_factory=VisionCache)
