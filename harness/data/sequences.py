"""Calibration sequences: a share alpha of the tokens from image-text samples, the rest from text.

They come in parts, so that the statistics of different alphas are sums over the same parts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from harness.config.schema import CalibrationConfig
from harness.data.image_text_sources import image_text_source
from harness.data.text_sources import text_source
from harness.errors import ConfigError
from harness.models.load import LoadedModel
from harness.models.prompt import prompt_text
from harness.store import digest
from luq.quantizers.code import shared_code

QUARTERS = 4
SEQUENCES_VERSION = 2  # part of every digest; raise it when the same sources give other sequences
SourceKind = Literal["image_text", "text"]
Sequences = list[dict[str, Tensor]]


@dataclass(frozen=True)
class Part:
    """Tokens `begin` to `end` of the stream of one source."""

    source: SourceKind
    begin: int
    end: int


@dataclass(frozen=True)
class CalibrationData:
    """The sequences of a calibration.

    Attributes:
        parts: By part, keyword arguments of the model's forward pass for each sequence. A sequence
            is unpadded and holds one sample, so that no sample attends to another.
        tokens: Of all sequences.
        image_text_tokens: Of the image-text samples, their text included.
        image_token_share: Tokens of pictures, as a share of all tokens.
        pictures: Digests of the pictures, by part.
    """

    parts: dict[Part, Sequences]
    tokens: int
    image_text_tokens: int
    image_token_share: float
    pictures: dict[Part, list[str]] = field(default_factory=dict)

    @property
    def sequences(self) -> Sequences:
        """The sequences of all parts, in order."""
        return [sequence for part in self.parts.values() for sequence in part]


def parts(config: CalibrationConfig) -> list[Part]:
    """The parts of a calibration.

    Quarters of the budget where alpha allows it, so that every alpha in {0, .25, .5, .75, 1} is
    made of the same eight parts; else one part of each source.
    """
    quarters = config.alpha * QUARTERS
    if quarters == round(quarters) and config.tokens % QUARTERS == 0:
        size = config.tokens // QUARTERS
        counts: list[tuple[SourceKind, int]] = [
            ("image_text", round(quarters)),
            ("text", QUARTERS - round(quarters)),
        ]
        return [
            Part(source, i * size, (i + 1) * size) for source, count in counts for i in range(count)
        ]
    image_text = round(config.alpha * config.tokens)
    both = [Part("image_text", 0, image_text), Part("text", 0, config.tokens - image_text)]
    return [part for part in both if part.end > 0]


def part_digest(loaded: LoadedModel, config: CalibrationConfig, part: Part) -> str:
    """Digest `MODEL/PART` of everything that the statistics of one part depend on.

    Raises:
        ConfigError: The source of the part is not there.
    """
    version = [SEQUENCES_VERSION, shared_code()]
    recipe: list[Any] = [*version, part.source, part.begin, part.end, config.seed]
    if part.source == "text":
        recipe += [text_source(config.text).identity, config.sequence]
    else:
        recipe += [image_text_source(config.image_text).identity]
    return f"{loaded.digest}-{loaded.dtype}/{digest.of_value(recipe)}"


def calibration_digest(loaded: LoadedModel, config: CalibrationConfig) -> str:
    """Digest `MODEL/CALIBRATION` of everything that the statistics of a calibration depend on.

    Raises:
        ConfigError: A source is not there.
    """
    digests = [part_digest(loaded, config, part) for part in parts(config)]
    model = digests[0].split("/")[0]
    return f"{model}/{digest.of_value([one.split('/')[1] for one in digests])}"


def collect(
    loaded: LoadedModel, config: CalibrationConfig, only: list[Part] | None = None
) -> CalibrationData:
    """The sequences of a calibration.

    A part holds the samples that begin inside it: image-text samples stay whole, text is cut.

    Args:
        loaded: The model, whose processor makes the sequences, and on whose device they are.
        config: Names the sources and how many tokens to take.
        only: Some of the parts; None for all.

    Raises:
        ConfigError: A source is not there, or has fewer tokens than its parts ask for; or the
            model does not know a token.
    """
    wanted = parts(config) if only is None else only
    sequences: dict[Part, Sequences] = {part: [] for part in wanted}
    pictures: dict[Part, list[str]] = {part: [] for part in wanted}
    for source in dict.fromkeys(part.source for part in wanted):
        of_source = [part for part in wanted if part.source == source]
        for part, sample in _samples_by_part(loaded, config, of_source):
            _require_known(loaded, sample.inputs["input_ids"])
            sequences[part].append(
                {name: tensor.to(loaded.device) for name, tensor in sample.inputs.items()}
            )
            pictures[part] += sample.pictures
    everything = [sequence for part in sequences.values() for sequence in part]
    tokens, image_token = _count(everything), getattr(loaded.model.config, "image_token_id", None)
    image_tokens = 0
    if image_token is not None:
        image_tokens = sum(int((one["input_ids"] == image_token).sum()) for one in everything)
    image_text = sum(_count(sequences[part]) for part in wanted if part.source == "image_text")
    return CalibrationData(sequences, tokens, image_text, image_tokens / tokens, pictures)


def _require_known(loaded: LoadedModel, ids: Tensor) -> None:
    """Refuse tokens that the model has no embedding for, which only an error of a device tells."""
    known = loaded.model.get_input_embeddings().num_embeddings
    if int(ids.max()) >= known or int(ids.min()) < 0:
        raise ConfigError(
            f"{loaded.name}: its tokenizer gives token {int(ids.max())}, and its weights have"
            f" {known} embeddings: tokenizer and weights are not of the same model"
        )


def _count(sequences: Sequences) -> int:
    """Tokens of all sequences."""
    return sum(sequence["input_ids"].shape[1] for sequence in sequences)


@dataclass(frozen=True)
class _Sample:
    """start: number of its first token in the stream. pictures: digests."""

    start: int
    inputs: dict[str, Tensor]
    pictures: list[str]

    @property
    def tokens(self) -> int:
        return int(self.inputs["input_ids"].shape[1])


def _samples_by_part(
    loaded: LoadedModel, config: CalibrationConfig, wanted: list[Part]
) -> Iterator[tuple[Part, _Sample]]:
    """The samples that begin inside parts of one source."""
    source, tokens = wanted[0].source, 0
    stream = _image_text(loaded, config) if source == "image_text" else _text(loaded, config)
    end = max(part.end for part in wanted)
    for sample in stream:
        if sample.start >= end:
            return
        part = next((part for part in wanted if part.begin <= sample.start < part.end), None)
        if part is not None:
            tokens += sample.tokens
            yield part, sample
    raise ConfigError(
        f"calibration.{source}={getattr(config, source)} ends after {tokens} tokens of"
        f" {sum(part.end - part.begin for part in wanted)}; ask for fewer with calibration.tokens,"
        " or give a larger source"
    )


def _image_text(loaded: LoadedModel, config: CalibrationConfig) -> Iterator[_Sample]:
    """Pictures with their questions, without answers, each a sample of its own length."""
    start = 0
    for picture, question in image_text_source(config.image_text).prompts(config.seed):
        inputs = loaded.processor(
            text=[prompt_text(loaded.processor, question, 1)], images=[picture], return_tensors="pt"
        )
        sample = _Sample(start, dict(inputs), [digest.of_picture(picture)])
        yield sample
        start += sample.tokens


def _text(loaded: LoadedModel, config: CalibrationConfig) -> Iterator[_Sample]:
    """Sequences of `config.sequence` tokens; the last one of a part is cut where the part ends."""
    start = 0
    ends = sorted(part.end for part in parts(config) if part.source == "text")
    stream = text_source(config.text).sequences(
        loaded.processor.tokenizer, config.sequence, config.seed
    )
    for sequence in stream:
        room = next((end - start for end in ends if end > start), config.sequence)
        ids = sequence[:, :room]
        yield _Sample(start, {"input_ids": ids, "attention_mask": ids.new_ones(ids.shape)}, [])
        start += ids.shape[1]
