"""What counts as the code of a quantizer: its own package, and what it uses of luq."""

import pytest

from luq.quantizers.awq import AWQ
from luq.quantizers.billm import BiLLM
from luq.quantizers.code import _package_code, code_digest, shared_code
from luq.quantizers.gptq import GPTQ
from luq.quantizers.registry import quantizer_classes


@pytest.fixture
def changed(change_luq):
    """The digests of these classes once a module of luq has a further line."""

    def digests(module, *classes, **line):
        change_luq(module, **line)
        return [code_digest(one) for one in classes]

    return digests


def test_r32_every_quantizer_of_luq_has_a_code_of_its_own():
    classes = quantizer_classes(plugins=True).values()
    assert len({code_digest(one) for one in classes}) == len(classes) >= 8


def test_r32_a_changed_module_is_other_code_of_those_quantizers_that_use_it(changed):
    before = [code_digest(one) for one in (AWQ, GPTQ)]
    for module, used_by in [
        ("luq.quantizers.gptq", [False, True]),
        ("luq.quantizers.true_sequential", [False, True]),  # which gptq imports
        ("luq.quantizers.awq_search", [True, False]),
        ("luq.rounding.grids", [True, True]),
        ("luq.calibration.hessian", [True, True]),
    ]:
        after = changed(module, AWQ, GPTQ)
        assert [one != two for one, two in zip(before, after, strict=True)] == used_by, module


def test_r32_a_comment_in_luq_is_no_change(changed):
    before = code_digest(GPTQ)
    assert changed("luq.rounding.grids", GPTQ, line="# a remark") == [before]


def test_r32_statistics_depend_on_what_measures_them_and_on_no_quantizer(changed):
    before = shared_code()
    changed("luq.quantizers.gptq")
    assert shared_code() == before
    changed("luq.calibration.hessian")
    assert shared_code() != before


def test_r32_a_quantizer_that_is_made_of_one_of_luq_changes_with_it(changed, digest_of):
    class Mine(BiLLM):
        """In a module that imports no quantizer by name."""

    Mine.__module__ = "__main__"
    before = code_digest(Mine)
    assert changed("luq.quantizers.billm_search", Mine) != [before]
    assert changed("luq.quantizers.gptq", Mine) == [before]
    source = "def quantizer():\n    from luq.quantizers import rtn\n    return rtn.RTN(4)\n"
    importing = type("Q", (), {"__module__": "their_module"})
    first = digest_of(source)
    assert changed("luq.quantizers.rtn", importing)[0] != first
    assert changed("luq.quantizers.gptq", importing)[0] == first


def test_r32_any_source_file_of_a_package_is_its_code_and_data_is_not(tmp_path, monkeypatch):
    inside = tmp_path / "their_folder" / "below"
    inside.mkdir(parents=True)
    (tmp_path / "their_folder" / "__init__.py").write_text("class Q: ...\n")
    (inside / "kernel.py").write_text("STEP = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    cls = type("Q", (), {"__module__": "their_folder"})

    def digest():
        _package_code.cache_clear()
        return code_digest(cls)

    first = digest()
    (inside / "notes.txt").write_text("no code")
    assert digest() == first
    (inside / "kernel.py").write_text("STEP = 2\n")
    assert digest() != first


@pytest.fixture
def digest_of(tmp_path, monkeypatch):
    """The digest, as in another process, of a module with this source and version."""
    monkeypatch.syspath_prepend(str(tmp_path))
    info = tmp_path / "their_name-1.0.dist-info"
    info.mkdir()
    (info / "entry_points.txt").write_text("[luq.quantizers]\nq = their_module:Q\n")
    cls = type("Q", (), {"__module__": "their_module"})

    def digest(source, version="1.0"):
        (tmp_path / "their_module.py").write_text(source)
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: their-name\nVersion: {version}\n"
        )
        _package_code.cache_clear()
        return code_digest(cls)

    return digest


def test_r32_comments_and_layout_are_no_code_and_all_else_is(digest_of):
    first = digest_of("SHIFT = 3\nLABEL = 'a  # b'\n")
    assert digest_of("# how far\nSHIFT  =  3  # places\n\n\nLABEL = 'a  # b'\n") == first
    others = [
        "SHIFT = 4\nLABEL = 'a  # b'\n",
        "SHIFT = 3\nLABEL = 'a  # c'\n",
        "SHIFT = 3\nLABEL = 'a # b'\n",
        "no Python # 1\n",
        "no Python # 2\n",
    ]
    assert len({first, *map(digest_of, others)}) == 6


def test_r32_another_version_of_the_distribution_is_other_code(digest_of):
    source = "SHIFT = 3\n"
    assert digest_of(source) == digest_of(source)
    assert digest_of(source) != digest_of(source, version="1.1")
