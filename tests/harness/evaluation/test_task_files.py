"""Task files are data: functions that they name are not imported."""

from harness.evaluation.task_files import read_task_file


def test_functions_stay_names_and_nothing_is_imported(tmp_path):
    path = tmp_path / "task.yaml"
    path.write_text("task: t\ndoc_to_text: !function no_such_module.function\nn: 3\n")
    assert read_task_file(path) == {
        "task": "t",
        "doc_to_text": "no_such_module.function",
        "n": 3,
    }
