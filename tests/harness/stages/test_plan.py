"""stage=plan: what a command would store, need and cost."""

import pytest


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (
            "llava15_7b",
            (
                "2.54 bits and 40% smaller than 4 bits. From its own 1.08 and 4 bits: 2.540 bits,"
                " 36.5% smaller. As stored: 3.578 bits, 13.9% smaller than GPTQ-4 and 13.7% larger"
                " than GPTQ-3."
            ),
        ),
        (
            "qwen25vl_7b",
            (
                "2.75 bits and 31% smaller than 4 bits. From its own 1.08 and 4 bits: 2.749 bits,"
                " 31.3% smaller. As stored: 3.661 bits, 11.9% smaller than GPTQ-4 and 16.3% larger"
                " than GPTQ-3."
            ),
        ),
    ],
)
def test_both_models_are_planned_without_weights_or_network_and_beside_the_papers_sizes(
    run, model, said
):
    code, text = run(
        "stage=plan",
        f"model={model}",
        "suite=paper",
        "+sweep=table1",
        "limit=null",
        "plan.questions_per_second=10",
    )
    assert code == 0, text
    assert said in text
    assert "81 cells with 2,308,356 questions" in text
    assert "answering 64.1 h at 10 questions a second" in text
    for variant in ("fp", "gptq4", "awq3", "billm", "luq k="):
        assert f"\n {variant}" in text
    assert "16.000" in text
    assert "4.156" in text


def test_a_plan_needs_only_the_configuration_of_a_folder(run, tmp_path, narrow_model):
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "config.json").write_bytes((narrow_model / "config.json").read_bytes())
    code, text = run("stage=plan", f"model.path={tmp_path / 'bare'}", "method=luq", "method.k=all")
    assert code == 0, text
    assert all(f"luq k={k}" in text for k in range(1, 5))
    assert not list((tmp_path / "runs").glob("bank/*"))


def test_more_low_blocks_than_there_are_is_refused_before_anything_is_paid(run):
    code, text = run("stage=plan", "model=qwen25vl_7b", "suite=paper", "method=luq", "method.k=29")
    assert code == 2
    assert "method.k is 29, qwen25vl_7b has 28 decoder blocks" in text


def test_an_unknown_model_of_the_hub_says_that_it_cannot_be_loaded(run):
    code, text = run("stage=plan", "model=qwen25vl_7b", "model.path=some/other", "method=fp")
    assert code == 2
    assert "cannot load model.path=some/other: no folder has this name" in text
