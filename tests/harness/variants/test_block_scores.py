import pytest
import torch

from harness.config.schema import CalibrationConfig, MethodConfig
from harness.errors import ConfigError
from harness.variants import block_scores
from harness.variants.block_scores import damage_samples, linear_damages, measures
from harness.variants.variant import make_variant
from harness.variants.weights import BankWeights
from luq import AWQ, RTN, BiLLM
from luq.allocation.orders import block_order
from luq.decoder.apply import applied
from luq.decoder.blocks import BlockWeights
from luq.types import QuantizationError
from tests.harness.variants.conftest import ENTROPY

LOW = {"method": "billm"}


@pytest.fixture(scope="module", autouse=True)
def fewer_questions():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(block_scores, "HELD_OUT", 16)
        yield


@pytest.fixture
def bank(embedded_run):
    return BankWeights(embedded_run)


@torch.inference_mode()
def answer_losses(model, batch):
    """Oracle: the whole model, every question alone and unpadded."""
    losses = []
    for row in range(len(batch["labels"])):
        length = int(batch["attention_mask"][row].sum())
        alone = {
            name: t[row : row + 1, :length] if t.ndim == 2 else t[row : row + 1]
            for name, t in batch.items()
        }
        labels = alone.pop("labels")
        losses.append(
            torch.nn.functional.cross_entropy(
                model(**alone).logits[0, :-1], labels[0, 1:], ignore_index=block_scores.IGNORED
            )
        )
    return torch.stack(losses).double()


def test_damage_is_the_rise_of_the_loss_with_only_that_block_low(embedded_run, bank, embedded):
    damage = damage_samples(embedded_run, bank, BiLLM())
    assert damage.shape == (8, block_scores.HELD_OUT)
    batch = block_scores._held_out(embedded, CalibrationConfig())[0]
    entry = make_variant(embedded_run, MethodConfig(name="billm", high=LOW)).weights[3]
    before = answer_losses(embedded.model, batch)
    with applied(embedded.model, embedded.family, {3: entry}):
        rise = answer_losses(embedded.model, batch) - before
    torch.testing.assert_close(damage[3][: len(rise)], rise, rtol=1e-3, atol=1e-4)
    assert float(damage.mean(dim=1).max()) > 0
    assert float(before.median()) < 0.1  # the embedded model knows most of these answers
    answered = embedded.processor.tokenizer.decode(
        batch["input_ids"][0][batch["labels"][0] != block_scores.IGNORED]
    )
    assert answered.endswith(embedded.processor.tokenizer.eos_token)


def test_damage_of_a_linear_is_the_rise_with_only_that_linear_low(narrow_run):
    damages = linear_damages(narrow_run, BankWeights(narrow_run), BiLLM())
    assert [set(block) for block in damages] == [set(narrow_run.loaded.family.linears)] * 4
    batches = block_scores._held_out(narrow_run.loaded, CalibrationConfig())
    packed = (
        make_variant(narrow_run, MethodConfig(name="billm", high=LOW))
        .weights[0]
        .linears["mlp.down_proj"]
    )
    before = torch.cat([answer_losses(narrow_run.loaded.model, batch) for batch in batches])
    with applied(
        narrow_run.loaded.model,
        narrow_run.loaded.family,
        {0: BlockWeights({"mlp.down_proj": packed})},
    ):
        rise = (
            torch.cat([answer_losses(narrow_run.loaded.model, batch) for batch in batches]) - before
        )
    assert damages[0]["mlp.down_proj"] == pytest.approx(float(rise.mean()), rel=1e-3, abs=1e-4)
    with pytest.raises(QuantizationError, match="cannot be judged linear by linear"):
        linear_damages(narrow_run, BankWeights(narrow_run), AWQ(4))


def test_scores_are_measured_once(embedded_run, bank, monkeypatch):
    first = {
        name: list(measure())
        for name, measure in measures(embedded_run, bank, BiLLM(), ENTROPY).items()
    }
    monkeypatch.setattr(block_scores, "_answers_from", lambda *_: pytest.fail("measured again"))
    monkeypatch.setattr(block_scores, "block_influence", lambda *_: pytest.fail("measured again"))
    again = measures(embedded_run, bank, BiLLM(), ENTROPY)
    assert {name: list(measure()) for name, measure in again.items()} == first
    assert all(len(values) == 8 for values in first.values())


@pytest.mark.parametrize("order", ["damage", "layer_error", "influence"])
def test_the_order_by_a_measured_score_takes_the_lowest_first(embedded_run, bank, order):
    variant = make_variant(
        embedded_run,
        MethodConfig(name="luq", low=LOW, high={"method": "rtn", "bits": 4}, k=3, order=order),
    )
    values = measures(embedded_run, bank, BiLLM(), ENTROPY)[order]()
    assert variant.order == tuple(sorted(range(8), key=lambda i: values[i]))
    low = {
        block
        for block, entry in variant.weights.items()
        if entry.linears["mlp.up_proj"].format == "binary"
    }
    assert low == set(variant.order[:3])


def test_an_order_that_depends_on_the_low_method_asks_for_one(embedded_run, bank):
    for name in ("damage", "layer_error"):
        with pytest.raises(ConfigError, match=r"depends on the low method; set method\.low"):
            block_order(name, 8, measures(embedded_run, bank, None, ENTROPY))


def test_divergence_is_that_of_the_answers_distributions_from_full_precision(
    embedded_run, bank, embedded
):
    found = damage_samples(embedded_run, bank, BiLLM(), "divergence")
    batch = block_scores._held_out(embedded, CalibrationConfig())[0]
    inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
    answered = batch["labels"][0, 1:] != block_scores.IGNORED
    entry = make_variant(embedded_run, MethodConfig(name="billm", high=LOW)).weights[0]
    with torch.inference_mode():
        before = embedded.model(**inputs).logits[0, :-1][answered].log_softmax(dim=-1)
        with applied(embedded.model, embedded.family, {0: entry}):
            after = embedded.model(**inputs).logits[0, :-1][answered].log_softmax(dim=-1)
    expected = (
        torch.nn.functional.kl_div(after, before, log_target=True, reduction="none")
        .sum(dim=1)
        .mean()
    )
    assert float(found[0, 0]) == pytest.approx(float(expected), rel=1e-2, abs=1e-5)
    assert float(found.min()) > -1e-5  # a divergence is never negative, but for rounding
    assert (
        float(damage_samples(embedded_run, bank, RTN(8), "divergence").mean())
        < float(found.mean()) / 10
    )


def test_damage_of_one_method_is_not_taken_for_anothers(embedded_run, bank):
    assert not torch.equal(
        damage_samples(embedded_run, bank, BiLLM()),
        damage_samples(embedded_run, bank, RTN(8)),
    )
    assert abs(float(damage_samples(embedded_run, bank, RTN(8)).mean())) < 0.01
