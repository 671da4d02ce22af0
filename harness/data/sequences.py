"""Calibration sequences: alpha of the tokens from image-text samples, the rest from text, in parts
that every alpha shares.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from harness.config.schema import CalibrationConfig
from harness.data.sources import image_text_source, text_source
from harness.errors import ConfigError
from harness.evaluation.inputs import picture_digest
from harness.models.load import LoadedModel
from harness.store import digest

QUARTERS = 4
SEQUENCES_VERSION = 1
Sequences = list[dict[str, Tensor]]
Sample = tuple[
    int, dict[str, Tensor], list[str]
]  # number of its first token, sequence, digests of its pictures


@dataclass(frozen=True)
class Part:
    """Tokens begin..end of the stream of one source."""

    source: Literal["image_text", "text"]
    begin: int
    end: int


@dataclass(frozen=True)
class CalibrationData:
    """parts: by part, keyword arguments of the model's forward, one unpadded sequence each, which
    holds one sample, so that none attends to another. image_token_share: of all tokens. pictures:
    digests, by part.
    """

    parts: dict[Part, Sequences]
    tokens: int
    image_text_tokens: int
    image_token_share: float
    pictures: dict[Part, list[str]] = field(default_factory=dict)

    @property
    def sequences(self) -> Sequences:
        return [sequence for part in self.parts.values() for sequence in part]


def parts(config: CalibrationConfig) -> list[Part]:
    """What a calibration consists of: quarters of the budget where alpha allows it, so that the
    statistics of every alpha in {0, .25, .5, .75, 1} are sums over the same eight parts; else one
    part of each source.
    """
    quarters = config.alpha * QUARTERS
    if quarters == round(quarters) and config.tokens % QUARTERS == 0:
        size = config.tokens // QUARTERS
        counts: list[tuple[Literal["image_text", "text"], int]] = [
            ("image_text", round(quarters)),
            ("text", QUARTERS - round(quarters)),
        ]
        return [
            Part(source, i * size, (i + 1) * size) for source, count in counts for i in range(count)
        ]
    images = round(config.alpha * config.tokens)
    whole = [Part("image_text", 0, images), Part("text", 0, config.tokens - images)]
    return [part for part in whole if part.end > 0]


def part_digest(loaded: LoadedModel, config: CalibrationConfig, part: Part) -> str:
    """Digest of everything that the statistics of one part depend on, its first part the model's
    alone: `MODEL/PART`.
    """
    recipe: list[Any] = [SEQUENCES_VERSION, part.source, part.begin, part.end, config.seed]
    if part.source == "text":
        recipe += [text_source(config.text).identity, config.sequence]
    else:
        recipe += [image_text_source(config.image_text).identity]
    return f"{loaded.digest}-{loaded.dtype}/{digest.of_value(recipe)}"


def calibration_digest(loaded: LoadedModel, config: CalibrationConfig) -> str:
    """Digest of everything that the statistics of a calibration depend on: `MODEL/CALIBRATION`."""
    found = [part_digest(loaded, config, part) for part in parts(config)]
    return f"{found[0].split('/')[0]}/{digest.of_value([name.split('/')[1] for name in found])}"


def collect(
    loaded: LoadedModel, config: CalibrationConfig, only: list[Part] | None = None
) -> CalibrationData:
    """The sequences of all parts, or of some.

    A part holds the samples that begin inside it; image-text samples stay whole, text is cut.

    Raises ConfigError for a source that is not there or has fewer tokens than the part asks for.
    """
    wanted = parts(config) if only is None else only
    found: dict[Part, Sequences] = {part: [] for part in wanted}
    pictures: dict[Part, list[str]] = {part: [] for part in wanted}
    for source in dict.fromkeys(part.source for part in wanted):
        mine = [part for part in wanted if part.source == source]
        for start, sequence, seen in _stream(loaded, config, source):
            if start >= max(part.end for part in mine):
                break
            part = next((p for p in mine if p.begin <= start < p.end), None)
            if part is not None:
                found[part].append(
                    {name: tensor.to(loaded.device) for name, tensor in sequence.items()}
                )
                pictures[part] += seen
        else:
            have = sum(_count(found[part]) for part in mine)
            raise ConfigError(
                f"calibration.{source}={getattr(config, source)} ends after {have} tokens of"
                f" {sum(p.end - p.begin for p in mine)}; ask for fewer with calibration.tokens, or"
                " give a larger source"
            )
    everything = [sequence for sequences in found.values() for sequence in sequences]
    tokens, token = _count(everything), getattr(loaded.model.config, "image_token_id", None)
    images = (
        sum(int((s["input_ids"] == token).sum()) for s in everything) if token is not None else 0
    )
    image_text = sum(
        _count(sequences) for part, sequences in found.items() if part.source == "image_text"
    )
    return CalibrationData(found, tokens, image_text, images / tokens, pictures)


def _count(sequences: Sequences) -> int:
    return sum(s["input_ids"].shape[1] for s in sequences)


def _stream(loaded: LoadedModel, config: CalibrationConfig, source: str) -> Iterator[Sample]:
    """The samples of one source, from its beginning."""
    return _image_text(loaded, config) if source == "image_text" else _text(loaded, config)


def _image_text(loaded: LoadedModel, config: CalibrationConfig) -> Iterator[Sample]:
    start = 0
    for image, question in image_text_source(config.image_text).prompts(config.seed):
        inputs = loaded.processor(
            text=[prompt_text(loaded, question, 1)], images=[image], return_tensors="pt"
        )
        yield start, dict(inputs), [picture_digest(image)]
        start += inputs["input_ids"].shape[1]


def _text(loaded: LoadedModel, config: CalibrationConfig) -> Iterator[Sample]:
    """Sequences of `config.sequence` tokens, the last of every part shorter where the part has no
    room for a whole one.
    """
    start = 0
    ends = sorted(part.end for part in parts(config) if part.source == "text")
    stream = text_source(config.text).sequences(
        loaded.processor.tokenizer, config.sequence, config.seed
    )
    for whole in stream:
        room = next((end - start for end in ends if end > start), config.sequence)
        ids = whole[:, :room]
        yield start, {"input_ids": ids, "attention_mask": ids.new_ones(ids.shape)}, []
        start += ids.shape[1]


def prompt_text(loaded: LoadedModel, question: str, images: int) -> str:
    """The question in the model's own chat form, with a place for each image, ready for the answer."""
    content: list[dict[str, Any]] = [{"type": "image"}] * images + [
        {"type": "text", "text": question}
    ]
    return str(
        loaded.processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True
        )
    )
