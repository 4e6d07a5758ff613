"""Promotions by several processes at once, over one file and over a real server."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from onnx_models import linear_model

from rolekd import files
from rolekd.params import TrackParams
from rolekd.registry import versions
from rolekd.registry.evidence import Evidence
from rolekd.track import runs

PROMOTER = """
import sys, time
from pathlib import Path
from rolekd.errors import RunError
from rolekd.registry import assessment, promotion
from rolekd.params import PromoteParams
assessment._SECONDS = 0.0
uri, version, gate = sys.argv[1:]
import mlflow
Path(gate, version).touch()
while len(list(Path(gate).iterdir())) < 3:
    time.sleep(0.001)
try:
    promotion.promote("student", PromoteParams(latency_ratio=1000.0), uri=uri, data=Path("none"),
                      version=int(version))
    print("won")
except RunError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.parametrize("remote", [False, True], ids=["one file", "a server"])
def test_of_promotions_by_three_processes_one_wins_and_the_others_are_told(
    project: Path, remote: bool, request: pytest.FixtureRequest
) -> None:
    uri = request.getfixturevalue("server").uri if remote else f"sqlite:///{project}/mlflow.db"
    (project / "gate").mkdir()
    path = linear_model(project / "student.onnx")
    facts = evidence(files.sha256(path))
    for _ in range(3):
        with runs.start("register", experiment="e", track=TrackParams(uri=uri)) as run:
            image = np.zeros((1, 8, 8, 1), np.uint8)
            versions.register(
                path, name="student", run_id=run.run_id(), example=image,
                description=versions.Description(evidence=facts), uri=uri,
            )  # fmt: skip
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROMOTER, uri, str(version), str(project / "gate")],
            stdout=subprocess.PIPE,
            text=True,
        )
        for version in (1, 2, 3)
    ]
    told = [process.communicate(timeout=200)[0].strip() for process in processes]
    won = [version for version, text in enumerate(told, 1) if text == "won"]
    client = MlflowClient(uri)
    assert won == [int(client.get_model_version_by_alias("student", "champion").version)]
    lost = [text for text in told if text != "won"]
    assert all("another promotion" in text or "champion became" in text for text in lost), lost
    assert "promotion.lock" not in client.get_registered_model("student").tags


def evidence(sha256: str) -> Evidence:
    labels = tuple(range(10)) * 10
    return Evidence("d", labels, labels, 1.0, 100, 100, 1000, sha256, "kd-rolewise", (1.0,))
