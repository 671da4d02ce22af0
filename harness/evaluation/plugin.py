"""The entry point `lmms_eval.models`: kept light, since lmms-eval imports it on every start."""

from __future__ import annotations

from lmms_eval.models.registry_v2 import ModelManifest


def manifests() -> list[ModelManifest]:
    return [
        ModelManifest(model_id="luq", simple_class_path="harness.evaluation.lmms_model.LuqModel")
    ]
