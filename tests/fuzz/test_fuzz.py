"""Anything may be given to the harness: it is what it was, or it is refused, by the harness's own
errors; nothing runs. `FUZZ=2000` in the environment tries so many examples instead of 20.
"""

import contextlib
import json
import os
import tempfile
from pathlib import Path

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.config.compose import compose
from harness.config.schema import Config
from harness.errors import ConfigError
from harness.store.bank import from_tensors, to_tensors
from harness.store.store import Store
from harness.store.tensors import MANIFEST, TENSORS, CorruptEntry, read_verified
from luq import GPTQ, PBLLM, RTN, BiLLM
from luq.allocation.plan import ranked_prefix
from luq.decoder.blocks import BlockWeights
from luq.pipelines.synthetic import stats_of, synthetic_layer
from luq.quantizers.registry import rebuild_weight
from luq.types import QuantizationError, stored_bytes
from reports.report.write import write_report
from tests.reports.builders import add_cell

CANARY = Path(tempfile.gettempdir()) / f"luq-fuzz-{os.getpid()}"
slowly = settings(
    max_examples=int(os.environ.get("FUZZ", "20")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
DAMAGE = ("flip", "cut", "insert", "zero")
METHODS = [
    RTN(4),
    RTN(2, group=32),
    RTN(3, symmetric=True),
    GPTQ(3),
    GPTQ(4, act_order=True),
    BiLLM(),
    PBLLM(),
]


@slowly
@given(
    st.sampled_from(METHODS),
    st.integers(1, 40),
    st.integers(2, 300),
    st.integers(0, 5),
    st.floats(1e-6, 1e4),
)
def test_r18_every_packed_weight_is_rebuilt_from_its_bytes_bit_for_bit(
    method, out, inner, seed, scale
):
    weight, inputs = synthetic_layer(out=out, inner=inner, tokens=64, seed=seed)
    try:
        packed = method(weight * scale, stats_of(inputs))
    except QuantizationError:
        return  # said why: a scale that half precision cannot hold
    stored = {name: tensor.clone() for name, tensor in packed.tensors().items()}
    again = rebuild_weight(packed.format, packed.header(), stored)
    assert torch.equal(again.dequantize(), packed.dequantize())
    assert stored_bytes(packed) == sum(t.numel() * t.element_size() for t in stored.values())
    assert torch.isfinite(packed.dequantize()).all()


@given(st.permutations(range(9)), st.integers(-2, 11))
def test_plans_differ_by_one_block_from_one_k_to_the_next(order, k):
    low, high = RTN(2), RTN(4)
    if not 0 <= k <= len(order):
        with pytest.raises(ValueError, match="choose 0 to 9"):
            ranked_prefix(order, k, low, high)
        return
    plan = ranked_prefix(order, k, low, high)
    assert list(plan.blocks).count("low") == k
    if k:
        before = ranked_prefix(order, k - 1, low, high)
        assert [i for i in range(9) if plan.blocks[i] != before.blocks[i]] == [order[k - 1]]


@slowly
@given(
    st.sampled_from([MANIFEST, TENSORS]),
    st.integers(0, 1 << 20),
    st.integers(1, 255),
    st.sampled_from(["flip", "cut", "insert", "zero"]),
)
def test_r6_a_bank_entry_with_any_byte_changed_is_refused_or_still_the_same(
    file, where, change, how
):
    weight, inputs = synthetic_layer(out=4, inner=32, tokens=64)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        tensors, meta = to_tensors(BlockWeights({"q": GPTQ(3, group=16)(weight, stats_of(inputs))}))
        store.save_tensors("bank", "key", tensors, meta)
        path = store.path("bank", "key") / file
        data = bytearray(path.read_bytes())
        place = where % len(data)
        if how == "flip":
            data[place] ^= change
        elif how == "insert":
            data.insert(place, change)
        else:
            data[place:] = b"" if how == "cut" else bytes(len(data) - place)
        path.write_bytes(data)
        try:
            found, meta = read_verified(store.path("bank", "key"))
        except CorruptEntry:
            return
        assert torch.equal(
            from_tensors(found, meta).linears["q"].dequantize(),
            from_tensors(tensors, meta).linears["q"].dequantize(),
        )


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
JSON = st.recursive(
    LEAVES,
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=9), v, max_size=3),
    max_leaves=5,
)


@slowly
@given(st.sampled_from(["cells/c1/cell.json", "results/rc1/result.json"]), st.integers(0, 40), JSON)
def test_r19_a_result_with_any_value_in_any_place_is_shown_or_told(file, place, value):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        add_cell(root)
        add_cell(root, key="c2", method="other")
        entry = json.loads((root / file).read_text())
        entry[list(entry)[place % len(entry)]] = value
        (root / file).write_text(json.dumps(entry))
        board, _ = write_report(root)
        assert (
            "other" in {line.label.split(",")[0].split(" k=")[0] for line in board.lines}
            or board.problems
        )
        page = (root / "report" / "index.html").read_text()
        assert page.count("<script") == 1
        assert not any(
            name in (root / "leaderboard.md").read_text() for name in ("<script", "<img")
        )


def keys(config, prefix=""):
    """Every key of the configuration, with its dots."""
    for name, value in vars(config).items():
        yield prefix + name
        if hasattr(value, "__dataclass_fields__"):
            yield from keys(value, f"{prefix}{name}.")


KNOWN = sorted(keys(Config()))
EVIL = (
    "${oc.env:HOME}",
    "_target_: os.system",
    f"!!python/object/apply:pathlib.Path.touch ['{CANARY}']",
    "{_target_: os.system, a: 1}",
    "null",
    "-1",
    "nan",
    "1e999",
    "[]",
    "{}",
    "../../x",
    "\x00",
    "' or 1",
    "${now:%Y}",
    "a,b",
    "*",
    "x" * 400,
)


@slowly
@given(
    st.sampled_from(KNOWN),
    st.sampled_from(EVIL) | st.text(max_size=30),
    st.sampled_from(["", "+", "++", "~"]),
)
def test_r20_any_override_is_a_configuration_or_a_configuration_error(key, value, how):
    GlobalHydra.instance().clear()
    with contextlib.suppress(ConfigError):
        assert isinstance(compose([f"{how}{key}={value}"]), Config)
    assert not CANARY.exists()
