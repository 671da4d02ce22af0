"""A store is what it promises, or `verify` says what is not; `gc` frees what no result needs and
nothing else.
"""

import json
import os
import shutil
import subprocess
import sys
import time

import pytest

from harness.stages.verify import inspect
from reports.records.schema import SCHEMA_VERSION
from reports.records.sealed_json import seal

SMALL = [
    "limit=12",
    "batch_size=4",
    "calibration.tokens=600",
    "entropy.clusters=8",
    "entropy.seeds=2",
    "suite=mini_gqa",
    "method=luq",
]


@pytest.fixture(scope="module")
def filled(tmp_path_factory, narrow_model):
    """A store with every kind of entry that one variant leaves."""
    root = tmp_path_factory.mktemp("filled") / "runs"
    command = [
        sys.executable,
        "-m",
        "harness",
        *SMALL,
        "method.k=2",
        f"model.path={narrow_model}",
        f"store={root}",
        "quiet=true",
    ]
    subprocess.run(command, check=True)
    return root


@pytest.fixture
def root(filled, tmp_path):
    return shutil.copytree(filled, tmp_path / "runs")


def contents(root):
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and "logs" not in path.parts
    }


def old(root):
    """As if nobody had touched it for a day."""
    for path in [root, *root.rglob("*")]:
        os.utime(path, (time.time() - 86400,) * 2)


def test_a_sound_store_has_no_damage_and_no_orphans(root):
    found = inspect(root)
    assert {
        "cells",
        "results",
        "bank",
        "stats",
        "factors",
        "answers",
        "entropy",
        "pictures",
        "data",
    } <= set(found)
    assert not [
        kind.damaged + kind.newer + kind.orphans
        for kind in found.values()
        if kind.damaged or kind.newer or kind.orphans
    ]


DAMAGE = [
    ("bank", "*/tensors.safetensors"),
    ("stats", "*/tensors.safetensors"),
    ("factors", "*/manifest.json"),
    ("results", "*/result.json"),
    ("cells", "*/cell.json"),
    ("answers", "*/*.json"),
    ("entropy", "*/value.json"),
    ("pictures", "*/index.json"),
]


@pytest.mark.parametrize(("kind", "pattern"), DAMAGE, ids=[kind for kind, _ in DAMAGE])
def test_r6_one_flipped_byte_anywhere_is_found_set_aside_and_made_again(
    run, root, narrow_model, kind, pattern
):
    path = sorted((root / kind).glob(pattern))[0]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    before = contents(root)
    code, text = run("stage=verify", "dry_run=true", f"store={root}")
    assert code == 1
    assert f"DAMAGED {path.parent}" in text
    assert contents(root) == before
    assert run("stage=verify", f"store={root}")[0] == 1
    assert run("stage=verify", f"store={root}")[0] == 0
    assert run(*SMALL, "method.k=2", f"model.path={narrow_model}", f"store={root}")[0] == 0
    assert not [kind.damaged for kind in inspect(root).values() if kind.damaged]


def test_gc_frees_what_can_be_made_again_keeps_every_result_and_tells_first(
    run, root, narrow_model
):
    old(root)
    before = contents(root)
    code, text = run("stage=gc", "dry_run=true", f"store={root}")
    assert (code, contents(root)) == (0, before)
    assert "would be freed" in text
    assert run("stage=gc", f"store={root}")[0] == 0
    after = contents(root)
    assert {name.split("/")[0] for name in before.keys() - after.keys()} == {
        "stats",
        "factors",
        "data",
    }
    assert run("stage=gc", "gc.everything=true", f"store={root}")[0] == 0
    assert not list((root / "bank").iterdir())
    code, text = run(*SMALL, "method.k=2", f"model.path={narrow_model}", f"store={root}")
    assert code == 0
    assert "already done" in text
    for name, content in before.items():
        if name.split("/")[0] in ("cells", "results", "pictures"):
            assert contents(root)[name] == content


def test_gc_frees_orphans_and_what_killed_writers_left_but_nothing_that_is_new(run, root):
    orphan, half = root / "results" / "orphan", root / "partial" / "bank-x-1234"
    shutil.copytree(next((root / "results").iterdir()), orphan)
    seal(orphan / "result.json", "results/orphan")
    half.mkdir(parents=True)
    (half / "tensors.safetensors").write_bytes(b"half")
    assert [path.name for path in inspect(root)["results"].orphans] == ["orphan"]
    assert [path.name for path in inspect(root)["partial"].orphans] == ["bank-x-1234"]
    run("stage=gc", f"store={root}")
    assert orphan.exists()  # somebody may be about to point to it
    assert half.exists()
    old(root)
    run("stage=gc", f"store={root}")
    assert not orphan.exists()
    assert not half.exists()
    assert len(list((root / "results").iterdir())) == 1


def test_an_entry_of_a_newer_harness_is_told_and_left_alone(run, root, narrow_model):
    (path,) = root.glob("cells/*/cell.json")
    path.with_name("cell.json.sha256").unlink()
    path.write_text(
        json.dumps({**json.loads(path.read_text()), "schema_version": SCHEMA_VERSION + 1})
    )
    code, text = run("stage=verify", f"store={root}")
    assert code == 0
    assert "NEWER" in text
    code, text = run(*SMALL, "method.k=2", f"model.path={narrow_model}", f"store={root}")
    assert code == 1
    assert "written by a newer harness" in text
    assert path.exists()


def test_r21_gc_follows_no_link_out_of_the_store(run, root, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    (root / "stats" / "link").symlink_to(outside)
    (root / "corrupt").mkdir(exist_ok=True)
    (root / "corrupt" / "link").symlink_to(outside)
    old(root)
    assert run("stage=gc", f"store={root}")[0] == 0
    assert (outside / "precious").read_text() == "x"
    assert not (root / "corrupt" / "link").exists()


def test_what_the_harness_did_not_make_is_told_and_left_alone(run, root):
    (root / "mine").mkdir()
    (root / "mine" / "notes.txt").write_text("x")
    assert [path.name for path in inspect(root)["mine"].orphans] == ["notes.txt"]
    old(root)
    run("stage=gc", "gc.everything=true", f"store={root}")
    assert (root / "mine" / "notes.txt").exists()
