"""What `import luq` gives."""

import subprocess
import sys
from pathlib import Path

import pytest

import luq


def test_every_name_is_there():
    for name in luq.__all__:
        assert getattr(luq, name).__name__ == name
        assert name in dir(luq)
    with pytest.raises(AttributeError, match="module 'luq' has no attribute 'GPTX'"):
        _ = luq.GPTX


def test_importing_luq_loads_no_large_library_and_using_it_only_what_is_needed():
    code = (
        "import sys, luq\n"
        "large = {'torch', 'sklearn', 'scipy', 'transformers'}\n"
        "assert not large & set(sys.modules)\n"
        "luq.quantize, luq.LUQ, luq.GPTQ\n"
        "assert large & set(sys.modules) == {'torch'}, large & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_luq_is_typed():
    assert Path(luq.__file__).with_name("py.typed").exists()
