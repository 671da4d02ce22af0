"""How tasks of SLURM are waited for; test_slurm.py has a real SLURM."""

import pytest

from harness.launchers.job import JobResult

slurm = pytest.importorskip("harness.launchers.slurm", reason="needs the package submitit")


class Task:
    """A task that SLURM tells these states of, one a look, and then the last for ever; its result
    lies there from look `result` on.
    """

    def __init__(self, number, states, result=None):
        self.job_id, self.states, self.at, self.looks = str(number), list(states), result, 0
        self.paths = self.result_pickle = self
        self.number = number

    def exists(self):
        self.looks += 1
        return self.at is not None and self.looks >= self.at

    def result(self):
        return [JobResult(self.number, 0)]


@pytest.fixture
def waited(monkeypatch):
    """Wait for these tasks: (results, numbers of tasks queued again, what was reported)."""

    def wait(*tasks):
        again, told = [], []
        monkeypatch.setattr(slurm, "LOOK", 0)
        monkeypatch.setattr(
            slurm, "_state", lambda job: s.pop(0) if len(s := tasks[int(job)].states) > 1 else s[0]
        )
        monkeypatch.setattr(slurm, "_requeued", lambda job: again.append(int(job)) is None)
        return slurm.wait(tasks, len(tasks), told.append), again, told

    return wait


def test_results_are_told_as_they_come_and_given_in_order(waited):
    found, again, told = waited(
        Task(0, ["PENDING", "RUNNING"], result=5), Task(1, ["RUNNING"], result=2)
    )
    assert [done.number for done in told] == [1, 0]
    assert [(done.number, done.code) for done in found] == [(0, 0), (1, 0)]
    assert not again


def test_a_task_that_dies_is_queued_again_three_times_and_a_cancelled_one_never(waited):
    found, again, told = waited(
        Task(0, ["RUNNING", "FAILED"]),
        Task(1, ["NODE_FAIL", "PENDING", "RUNNING"], result=6),
        Task(2, ["CANCELLED"]),
    )
    assert again.count(0) == slurm.REQUEUES == 3
    assert again.count(1) == 1
    assert again.count(2) == 0
    assert [done.code for done in found] == [1, 0, 1]
    assert "ended without a result" in found[0].reason
    assert found == sorted(told, key=lambda done: done.number)


def test_a_result_that_a_file_system_shows_late_is_waited_for_and_one_that_never_comes_is_not(
    waited,
):
    found, _, _ = waited(
        Task(0, ["COMPLETED"], result=20), Task(1, ["COMPLETED"]), Task(2, ["RUNNING", ""])
    )
    assert [done.code for done in found] == [0, 1, 1]
