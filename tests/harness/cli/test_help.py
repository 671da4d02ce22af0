"""What `--help` and `stage=list` say, and how quickly."""

import subprocess
import sys

import pytest

from harness.__main__ import run as run_line
from harness.cli.help import overview
from harness.config.choices import GROUPS, choices
from harness.config.compose import compose
from harness.config.keys import read_groups
from harness.config.schema import Config
from harness.paths import CONF
from harness.stages.registry import STAGES


def test_the_help_lists_every_stage_and_every_file_of_the_configuration_with_a_line():
    text = overview()
    lines = {line.split()[0]: line for line in text.splitlines() if line.startswith("  ")}
    names = [path.stem for group in GROUPS for path in (CONF / group).glob("*.yaml")]
    for name in [*STAGES, *names]:
        assert len(lines[name].split()) > 2, name
    assert all(len(line) <= 100 for line in text.splitlines())


def test_every_file_of_the_configuration_begins_with_what_it_is():
    for group in GROUPS:
        for name, line in choices(group):
            assert 8 < len(line) <= 84, (group, name)
            assert not line.startswith("python -m"), (group, name)


def test_the_help_imports_none_of_the_heavy_libraries():
    """That is what keeps it under two seconds."""
    program = (
        "import sys; from harness.__main__ import run; run(['--help']);"
        "print(sorted({'torch', 'transformers', 'hydra', 'lmms_eval', 'omegaconf', 'luq'}"
        " & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stderr.strip() == "[]"
    assert "first_look" in done.stdout


def test_every_key_has_a_help_and_the_help_has_every_key(capsys):
    assert run_line(["--help", "keys"]) == 0
    text = capsys.readouterr().out
    known = {key.name for group in read_groups() for key in group.keys}
    config = compose([])

    def keys(part, prefix=""):
        for name in part.__dataclass_fields__:
            value = getattr(part, name)
            if hasattr(value, "__dataclass_fields__"):
                yield from keys(value, f"{prefix}{name}.")
            else:
                yield f"{prefix}{name}"

    assert isinstance(config, Config)
    assert set(keys(config)) == known
    for key in known:
        assert f"\n{key}: " in f"\n{text}"
    assert all(key.help.endswith(".") for group in read_groups() for key in group.keys)


def test_a_key_a_group_and_an_override_are_explained(capsys):
    assert run_line(["--help", "calibration.alpha"]) == 0
    assert "Share of the tokens that come from image-text samples" in capsys.readouterr().out
    assert run_line(["method.k=3", "-h"]) == 0
    assert "`half`, `quarters`" in capsys.readouterr().out
    assert run_line(["--help", "gate"]) == 0
    assert "gate.more_bits" in capsys.readouterr().out


def test_an_unknown_key_is_refused_with_the_groups_there_are(capsys):
    assert run_line(["--help", "calibration.alfa"]) == 2
    assert "no key 'calibration.alfa'" in capsys.readouterr().err


def test_the_version_is_printed(capsys):
    assert run_line(["--version"]) == 0
    assert capsys.readouterr().out.startswith("luq-harness 0.")


@pytest.mark.parametrize("what", ["evaluate", "method=gptq4", "+sweep=table1", "suite=mini_gqa"])
def test_stage_list_prints_tables_and_writes_nothing(run, tmp_path, what):
    code, text = run("stage=list")
    assert code == 0
    assert what in text
    assert not list(tmp_path.iterdir())
