"""The entry point `lmms_eval.models`: lmms-eval imports it at every start, so it imports little."""

from __future__ import annotations

from lmms_eval.models.registry_v2 import ModelManifest


def manifests() -> list[ModelManifest]:
    """The models that this package brings to lmms-eval, by the paths of their classes."""
    return [
        ModelManifest(
            model_id="luq",
            simple_class_path="harness.evaluation.command_line_model.CommandLineModel",
        )
    ]
