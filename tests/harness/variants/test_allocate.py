import pytest

from harness.config.compose import compose
from harness.config.schema import MethodConfig
from harness.errors import ConfigError
from harness.variants import block_scores
from harness.variants.allocate import allocate
from harness.variants.quantizers import candidates_of
from harness.variants.variant import make_variant
from harness.variants.weights import BankWeights

NAMES = ["rtn4", "rtn3", "rtn2"]


@pytest.fixture(scope="module", autouse=True)
def fewer_questions():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(block_scores, "HELD_OUT", 8)
        yield


def method(budget, **options) -> MethodConfig:
    words = [f"method.{key}={value}" for key, value in options.items()]
    return compose(
        [
            "method=allocated",
            f"method.candidates=[{','.join(NAMES)}]",
            f"method.budget_bits={budget}",
            *words,
        ]
    ).method


def damage(embedded_run, config):
    """Summed divergence of a plan, from the single blocks' own."""
    candidates, bank = candidates_of(config), BankWeights(embedded_run)
    divergences = [
        block_scores.damage_samples(embedded_run, bank, candidate, "divergence")
        .mean(dim=1)
        .tolist()
        for candidate in candidates
    ]
    return sum(
        divergences[next(iter(block.values()))][i]
        for i, block in enumerate(allocate(embedded_run, bank, config, candidates))
    )


@pytest.mark.parametrize("budget", [2.2, 2.7, 3.148, 3.6])
def test_plans_stay_within_the_budget_and_lose_no_more_than_random_ones(embedded_run, budget):
    variant = make_variant(embedded_run, method(budget))
    assert variant.stored_bits <= budget
    for seed in range(3):
        other = method(budget, score="random", order_seed=seed)
        assert make_variant(embedded_run, other).stored_bits <= budget
        assert damage(embedded_run, method(budget)) <= damage(embedded_run, other)


def test_a_budget_for_one_uniform_method_allows_that_method(embedded_run):
    uniform = make_variant(
        embedded_run, MethodConfig(name="rtn2", high={"method": "rtn", "bits": 2})
    )
    assert make_variant(embedded_run, method(uniform.stored_bits)).digest == uniform.digest


def test_linears_can_get_methods_of_their_own(embedded_run):
    config = method(2.644, unit="linear")
    variant = make_variant(embedded_run, config)
    assert variant.stored_bits <= 2.644
    bits = {name: packed.bits for name, packed in variant.weights[0].linears.items()}
    assert (
        len(
            {packed.bits for entry in variant.weights.values() for packed in entry.linears.values()}
        )
        > 1
    )
    alone = {
        b: make_variant(
            embedded_run, MethodConfig(name="x", high={"method": "rtn", "bits": b})
        ).weights[0]
        for b in (2, 3, 4)
    }
    for name, packed in variant.weights[0].linears.items():
        assert (packed.dequantize() == alone[bits[name]].linears[name].dequantize()).all()


def test_budgets_that_cannot_be_and_missing_parts_are_refused(embedded_run):
    with pytest.raises(
        ConfigError,
        match=(
            r"budget_bits=2.0: a budget of .* The candidates allow 2.141 to 4.156 stored bits per"
            r" weight"
        ),
    ):
        make_variant(embedded_run, method(2.0))
    with pytest.raises(ConfigError, match="has candidates but no budget"):
        method("null")
    with pytest.raises(ConfigError, match="have no place with them"):
        compose(["method=allocated", "method.low=gptq2"])
    with pytest.raises(ConfigError, match=r"method\.score is 'loss'"):
        method(3, score="loss")
    with pytest.raises(ConfigError, match=r"method\.candidates=luq: no method with one quantizer"):
        compose(["method=allocated", "method.candidates=[luq]"])
    with pytest.raises(
        ConfigError,
        match=r"method.unit=linear mixes entries of the bank, so it needs method.inputs=fp",
    ):
        make_variant(embedded_run, method(2.644, unit="linear", inputs="graft"))
