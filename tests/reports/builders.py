"""Results and stores for the tests of reports, without a model."""

from reports.records.results import Answer, Cell, MetricScore, SuiteResult
from reports.records.schema import to_json

CELL = Cell(
    model="mini",
    method="gptq4",
    low="none",
    high="gptq-4",
    k=0,
    order="entropy",
    alpha=0.5,
    calibration_seed=0,
    paper_bits=4,
    stored_bits=4.156,
    stored_bytes=2_723_840,
    suite="mini_pope",
    limit=None,
    variant="v",
    result="r",
    command="python -m harness",
    seconds=1.0,
    events=[],
)


def metric(statistic="mean", *, name="score", score=0.5, maximum=1.0, n=1):
    return MetricScore(
        metric=name,
        score=score,
        ci_low=0.9 * score,
        ci_high=min(maximum, 1.1 * score),
        n=n,
        maximum=maximum,
        primary=True,
        statistic=statistic,
    )


def suite_result(scores, *, suite="s", clusters=None, statistic="mean", name="score", **fields):
    """A result with one answer for each score, in a cluster of its own unless they are given.

    fields: further ones of the answers, a list each.
    """
    answers = [
        Answer(
            question_id=str(i),
            cluster=str(i if clusters is None else clusters[i]),
            prompt="",
            target="",
            response="",
            status="answered",
            scores={name: float(score)},
            **{field: values[i] for field, values in fields.items()},
        )
        for i, score in enumerate(scores)
    ]
    return SuiteResult(
        suite=suite,
        suite_title=suite.upper(),
        limit=None,
        n=len(answers),
        errors=0,
        empty=0,
        unparseable=0,
        metrics=[metric(statistic, name=name)],
        answers=answers,
    )


def add_cell(root, *, key="c1", method="gptq4", suite="mini_pope", score=0.8, n=10, k=0, **changes):
    """One cell and its result in the layout of a store."""
    answer = Answer(
        question_id="0",
        cluster="0",
        prompt="q",
        target="yes",
        response="yes",
        status="answered",
        scores={"f1": 1.0},
    )
    result = SuiteResult(
        suite=suite,
        suite_title=suite,
        limit=None,
        n=n,
        errors=0,
        empty=1,
        unparseable=2,
        metrics=[
            MetricScore(
                metric="f1", score=score, ci_low=0.7, ci_high=0.9, n=n, maximum=1.0, primary=True
            )
        ],
        answers=[answer],
    )
    own = {"method": method, "suite": suite, "k": k, "result": f"r{key}"}
    cell = CELL.model_copy(update=own | changes)
    for kind, name, entry in (("cells", key, cell), ("results", f"r{key}", result)):
        (root / kind / name).mkdir(parents=True)
        (root / kind / name / f"{kind[:-1]}.json").write_text(to_json(entry))


def change_result(root, key, **values):
    """Replace fields of a result that `add_cell` made."""
    path = root / "results" / f"r{key}" / "result.json"
    result = SuiteResult.model_validate_json(path.read_text())
    path.write_text(to_json(result.model_copy(update=values)))


def add_answers(root, key, scores, **cell):
    """A cell with these scores of answers, one a picture, and their mean as its score."""
    mean = sum(scores) / len(scores)
    add_cell(root, key=key, score=mean, variant=key, n=len(scores), **cell)
    change_result(root, key, answers=suite_result(scores, name="f1").answers)
