"""README and docs say what is so: links, commands, keys, files, targets, lengths."""

from __future__ import annotations

import importlib.util
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob

import harness
from harness.cli.help import print_help
from harness.config.choices import GROUPS, choices
from harness.config.compose import compose
from harness.config.keys import read_groups
from harness.errors import ConfigError, ExitCode
from harness.stages.registry import STAGES
from harness.store.kinds import KINDS
from tests.paths import ROOT
from tools.reference import FOLDER, pages

README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "examples").rglob("*.md"))]
PAGES += [ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]
GENERATED = {"reliability.md", "keys.md", "choices.md"}
PLACEHOLDERS = re.compile(r"\b(KEY|NAME|VALUE|GROUP|FOLDER)\b|\.\.\.")
PARSER = OverridesParser.create()
OWN = {"mine", "sign"}  # names of a reader's own files, in recipes
WIDTH = 100


def label(path):
    return path.relative_to(ROOT).as_posix()


def each_page(pages=PAGES):
    return pytest.mark.parametrize("page", pages, ids=label)


def prose(text):
    """The text without fenced code."""
    return re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)


def code(text):
    """Every piece of code in the text: lines of fenced blocks, continued ones joined, and spans."""
    for block in re.findall(r"^```\w*\n(.*?)^```", text, re.S | re.M):
        yield from block.replace("\\\n", " ").splitlines()
    yield from spans(text)


def spans(text):
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose(text))]


# ------------------------------------------------------------------------------------------ links
def anchors(path):
    """The anchors that GitHub gives to the headings of a page."""
    for heading in re.findall(r"^#+ (.*)$", prose(path.read_text(encoding="utf-8")), re.M):
        words = re.sub(r"[^\w\- ]", "", re.sub(r"\[(.*?)\]\(.*?\)", r"\1", heading)).lower()
        yield words.strip().replace(" ", "-")


def broken_links(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page.read_text(encoding="utf-8"))):
        if re.match(r"https?://|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists():
            yield f"{target}: no such file"
        elif anchor and anchor not in anchors(file):
            yield f"{target}: no such heading"


@each_page()
def test_every_link_and_anchor_resolves(page):
    assert list(broken_links(page)) == []


def test_every_page_can_be_reached_from_the_index():
    seen, todo = set(), [README]
    while todo:
        page = todo.pop()
        if page in seen:
            continue
        seen.add(page)
        links = re.findall(r"\]\(([^)#\s]+\.md)", page.read_text(encoding="utf-8"))
        todo += [(page.parent / link).resolve() for link in links if "://" not in link]
    assert [label(page) for page in PAGES if page not in seen] == []


# --------------------------------------------------------------------------------------- commands
def commands():
    """(page, words behind `-m harness`) of every command in the pages, without placeholders."""
    for page in PAGES:
        for line in code(page.read_text(encoding="utf-8")):
            match = re.match(
                r"(?:torchrun .* |python |luq-harness ?)-m harness\b(.*)", line.strip()
            )
            if match and not PLACEHOLDERS.search(line):
                yield label(page), tuple(shlex.split(match[1], comments=True))


def unique_commands():
    first = {}
    for page, words in commands():
        first.setdefault(words, page)
    return [(page, words) for words, page in first.items()]


FLAGS = ("-m", "--cfg", "job", "--version")


def first_of_each(words):
    """The overrides of a command; of those that are swept, the first value."""
    for override in PARSER.parse_overrides([word for word in words if word not in FLAGS]):
        if not override.is_sweep_override():
            yield override.input_line
        elif isinstance(override.value(), Glob):
            names = [name for name, _ in choices(override.key_or_group)]
            yield f"{override.key_or_group}={override.value().filter(names)[0]}"
        else:
            yield f"{override.key_or_group}={next(override.sweep_string_iterator())}"


def check_command(words):
    words = list(words)
    if "--config-dir" in words:  # a folder beside conf, of which the sweep comes
        folder = words.pop(words.index("--config-dir") + 1)
        words.remove("--config-dir")
        (sweep,) = [word for word in words if word.startswith("+sweep=")]
        assert (ROOT / folder / "sweep" / f"{sweep.partition('=')[2]}.yaml").is_file()
        words.remove(sweep)
    if "--help" in words:
        assert print_help([word for word in words if not word.startswith("-")]) == 0
    else:
        assert compose(list(first_of_each(words))).stage in STAGES


@pytest.mark.parametrize(
    ("page", "words"), unique_commands(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_command_composes(page, words, capsys):
    check_command(words)


@pytest.mark.parametrize(
    "words",
    [
        ["+sweep=nothing"],
        ["method=gptq5"],
        ["method=gptq5,gptq4", "-m"],
        ["method=glob(no*)", "-m"],
        ["method.kk=2"],
        ["method.order=best"],
        ["stage=nothing"],
        ["--help", "calibration.alfa"],
    ],
    ids=" ".join,
)
def test_a_command_that_cannot_be_is_noticed(words, capsys):
    with pytest.raises((AssertionError, ConfigError, IndexError)):
        check_command(words)


def test_the_sweep_of_the_guide_is_one(run, tmp_path):
    text = (ROOT / "docs" / "guides" / "sweeps.md").read_text(encoding="utf-8")
    (sweep,) = re.findall(r"^```yaml\n(.*?)^```", text, re.S | re.M)
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "mine.yaml").write_text(sweep)
    store = f"store={tmp_path / 'runs'}"
    code, table = run("--config-dir", str(tmp_path), "+sweep=mine", "stage=plan", store)
    assert code == 0, table
    assert re.search(r"gptq3-g64 +3\.00 +3\.297", table), table


@each_page()
def test_every_program_that_is_named_exists(page):
    for line in code(page.read_text(encoding="utf-8")):
        for module in re.findall(r"python3? -m ([a-z_][\w.]*)", line):
            assert importlib.util.find_spec(module) is not None, line


@each_page([*PAGES, *sorted((ROOT / ".github").rglob("*.yml")), ROOT / "docs" / "gate.github.yml"])
def test_every_make_target_that_is_named_exists(page):
    text = page.read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    lines = (
        code(text) if page.suffix == ".md" else re.findall(r"^ +(?:- run: )?(make .*)$", text, re.M)
    )
    for line in lines:
        if match := re.match(r"make ((?:[a-z][\w-]*\s*)+)", line.split("#")[0].strip()):
            for target in match[1].split():
                assert re.search(rf"^{target}:", makefile, re.M), line


# --------------------------------------------------------------------------------- keys and files
def known_keys():
    keys = {key.name for group in read_groups() for key in group.keys}
    return keys | set(GROUPS) | {group.name for group in read_groups()}


@each_page()
def test_every_key_that_is_named_exists(page):
    known = known_keys()
    for span in spans(page.read_text(encoding="utf-8")):
        match = re.match(r"([a-z]+\.[a-z_.]+|limit|store|stage|out|margin|baseline)=", span)
        if match and not match[1].startswith(("method.low.", "method.high.", "hydra.")):
            assert match[1] in known, span


@each_page()
def test_every_choice_that_is_named_exists(page):
    for span in spans(page.read_text(encoding="utf-8")):
        match = re.fullmatch(r"\+?([a-z]+)=([a-z]\w*)", span)
        if match and match[1] in GROUPS:
            names = [name for name, _ in choices(match[1])]
            assert match[2] in {*names, *OWN}, span
        elif match and match[1] == "stage":
            assert match[2] in STAGES, span


@each_page()
def test_every_file_that_is_named_exists(page):
    for span in spans(page.read_text(encoding="utf-8")):
        if re.fullmatch(
            r"(harness|luq|reports|tasks|tests|tools|bench|examples)/[\w/]+(\.py)?", span
        ):
            if PLACEHOLDERS.search(span):
                continue
            assert (ROOT / span).exists() or Path(span).stem in OWN, span


# ------------------------------------------------------------------------------------ words, sizes
def long_lines(page):
    """Numbers of lines that are too long; tables and lines with an address may be."""
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if len(line) > WIDTH and not line.startswith("|") and "http" not in line:
            yield number


@each_page([*[page for page in PAGES if page.name not in GENERATED], ROOT / "CHANGELOG.md"])
def test_lines_are_readable(page):
    assert list(long_lines(page)) == []


def test_the_readme_is_read_in_a_few_minutes():
    assert 90 <= len(README.read_text(encoding="utf-8").splitlines()) <= 140


# --------------------------------------------------------------------------- what the code says too
def test_the_reference_is_that_of_the_code():
    for name, text in pages().items():
        assert (FOLDER / name).read_text(encoding="utf-8") == text, (
            "run python -m tools.reference --write"
        )


def test_the_exit_codes_are_those_of_the_code():
    table = (FOLDER / "README.md").read_text(encoding="utf-8").split("## Exit codes")[1]
    assert [int(n) for n in re.findall(r"^\| (\d+) \|", table, re.M)] == [int(c) for c in ExitCode]


def test_the_make_targets_of_the_reference_are_those_of_the_makefile():
    table = (FOLDER / "README.md").read_text(encoding="utf-8").split("## make")[1]
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    assert phony is not None
    assert set(re.findall(r"^\| `make ([\w-]+)`", table, re.M)) == set(phony[1].split())


def test_the_layers_of_the_design_are_those_of_the_linter():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = [line for line in contracts["contracts"][0]["layers"] if line != "harness.__main__"]
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8").replace("\n    | ", " | ")
    for layer in layers:
        assert f"\n{layer}\n" in text, layer


def test_the_kinds_of_entries_in_the_guide_are_those_of_the_store():
    text = (ROOT / "docs" / "guides" / "store.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[^|]*) \|", text, re.M)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == set(KINDS)


def test_versions_agree():
    """Package, citation and the newest entry of the changelog."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    changes = re.findall(r"^## (\S+) - (\S+)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert project["version"] == harness.__version__ == citation["version"] == changes[0][0]
    assert str(citation["date-released"]) == changes[0][1]
    assert changes == sorted(changes, key=lambda one: one[1], reverse=True)


@pytest.mark.parametrize("name", ["tests", "gate", "release"])
def test_workflows_are_yaml_with_steps(name):
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / f"{name}.yml").read_text())
    assert workflow[True]  # `on`
    assert all(job["steps"] for job in workflow["jobs"].values())


def test_hooks_run_in_the_environment_that_is_active():
    hooks = yaml.safe_load(Path(ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [one["repo"] for one in hooks] == ["local"]
    names = {hook["id"] for one in hooks for hook in one["hooks"]}
    assert names >= {"ruff-check", "ruff-format", "mypy", "import-linter"}
