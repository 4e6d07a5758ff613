import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from rolekd.cli.compare import compare as command
from rolekd.errors import InputError, RunError
from rolekd.track import runs
from rolekd.track.compare import compare

EXPERIMENT = "rolekd-digits"


@pytest.fixture
def two(project: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Two runs of one stage that differ in bits, accuracy and DVC experiment."""
    ids = []
    for bits, accuracy, name in ((2, 0.85, "proud-cat"), (4, 0.95, "shy-dog")):
        monkeypatch.setenv("DVC_EXP_NAME", name)
        with runs.start(
            "evaluate", experiment=EXPERIMENT, params={"student": {"bits": bits}, "seed": 0}
        ) as run:
            run.log_metrics({"test_accuracy.kd": accuracy})
            if bits == 4:
                run.log_metrics({"test_accuracy.plain": 1.0})
            ids.append(run.run_id())
    first, second = ids
    assert first
    assert second
    return first, second


def test_numbers_and_differences(project: Path, two: tuple[str, str]) -> None:
    found = compare(two, EXPERIMENT, f"sqlite:///{project}/mlflow.db")
    assert found.runs == list(two)
    assert found.metrics == {"test_accuracy.kd": [0.85, 0.95], "test_accuracy.plain": [None, 1.0]}
    assert found.differences == {
        "student.bits": ["2", "4"],
        "dvc.experiment": ["proud-cat", "shy-dog"],
    }


def test_every_way_to_name_a_run(project: Path, two: tuple[str, str]) -> None:
    references = [two[0], two[0][:8], "proud-cat", "evaluate", "shy-dog"]
    found = compare(references, EXPERIMENT, f"sqlite:///{project}/mlflow.db")
    assert found.runs == [two[0], two[0], two[0], two[1], two[1]]


def test_command(two: tuple[str, str]) -> None:
    told = CliRunner().invoke(command, ["proud-cat", "shy-dog"], catch_exceptions=False)
    assert "0.85" in told.output
    assert "student.bits" in told.output
    told = CliRunner().invoke(command, ["--json", *two], catch_exceptions=False)
    assert json.loads(told.output)["metrics"]["test_accuracy.kd"] == [0.85, 0.95]


def test_one_evaluation_shows_its_arms(two: tuple[str, str]) -> None:
    told = CliRunner().invoke(command, ["evaluate"], catch_exceptions=False)  # the latest
    cells = [line.strip("│").split("│") for line in told.output.splitlines() if "test_" in line]
    assert [[cell.strip() for cell in row] for row in cells] == [
        ["test_accuracy.kd", "0.95"],
        ["test_accuracy.plain", "1"],
    ]


def test_unknown_runs(project: Path, two: tuple[str, str]) -> None:
    uri = f"sqlite:///{project}/mlflow.db"
    with pytest.raises(InputError, match="'nobody'"):
        compare(["nobody"], EXPERIMENT, uri)
    with pytest.raises(InputError, match="no experiment"):
        compare(two, "rolekd-other", uri)
    with pytest.raises(RunError, match=r"MLflow at http"):
        compare(two, EXPERIMENT, "http://127.0.0.1:9")
