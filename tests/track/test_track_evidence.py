from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from track_models import linear_model

from rolekd import files
from rolekd.data import dataset as datasets
from rolekd.data.dataset import Dataset
from rolekd.errors import InputError
from rolekd.export import measure, session
from rolekd.report.datafiles import save_predictions
from rolekd.track import assessment, evidence
from rolekd.track.card import card


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    """What the stages before `register` leave, for a network of random weights."""
    folder = tmp_path / "outputs"
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (100, 8, 8, 1), dtype=np.uint8)
    labels = np.arange(100) % 10
    parts = {"train": 0, "search_train": 0, "search_val": 30, "test": 60}
    splits = {name: np.arange(start, start + 30) for name, start in parts.items()}
    classes = tuple(f"digit {number}" for number in range(10))
    dataset = datasets.assemble("digits", images, labels, classes, splits)
    datasets.save(dataset, folder / "data")
    (folder / "export").mkdir()
    path = linear_model(folder / "export" / "student.onnx")
    test_images, test_labels = dataset.split("test")
    logits, _ = session.load(path)(test_images)
    save_predictions(
        folder / "evaluate" / "predictions.npz",
        {"kd-rolewise": np.stack([logits, logits[:, ::-1]])},
        test_labels,
    )
    files.write_json(folder / "evaluate" / "metrics.json", {"teacher_accuracy": 0.5})
    checked = {"images": 30, "argmax_equal": 30, "bytes": path.stat().st_size}
    files.write_json(folder / "export" / "verification.json", checked)
    return folder


def test_evidence_is_about_the_exported_file(outputs: Path) -> None:
    found = evidence.collect(outputs, "kd-rolewise", 0)
    dataset = datasets.load(outputs / "data")
    images, labels = dataset.split("test")
    logits, _ = session.load(outputs / "export" / "student.onnx")(images)
    assert found.predictions == tuple(logits.argmax(1))
    assert found.accuracy == found.accuracies[0] == (logits.argmax(1) == labels).mean()
    assert found.data_digest == dataset.digest
    assert found.sha256 == files.sha256(outputs / "export" / "student.onnx")


@pytest.mark.parametrize(("arm", "seed"), [("kd", 0), ("kd-rolewise", 2)])
def test_what_was_not_evaluated_has_no_evidence(outputs: Path, arm: str, seed: int) -> None:
    with pytest.raises(InputError, match="evaluate again"):
        evidence.collect(outputs, arm, seed)


def test_card_says_what_was_measured(outputs: Path) -> None:
    found = evidence.collect(outputs, "kd-rolewise", 0)
    dataset: Dataset = datasets.load(outputs / "data")
    text = card(found, dataset, {"student's schedule": "ab12"}, "rolekd-digits-student")
    assert f"test accuracy {100 * found.accuracy:.2f} % on 30 images" in text
    assert dataset.digest in text
    assert "- student's schedule: ab12" in text
    assert "digit 9" in text


def test_champion_of_older_data_is_tested_anew(outputs: Path) -> None:
    candidate = evidence.collect(outputs, "kd-rolewise", 0)
    champion = replace(candidate, data_digest="older", labels=(0,), predictions=(0,))
    network = session.load(outputs / "export" / "student.onnx")
    found = assessment._on_the_same_data(champion, candidate, network, outputs / "data")
    assert found == replace(candidate, accuracies=champion.accuracies)
    elsewhere = assessment._on_the_same_data(champion, candidate, network, outputs / "none")
    assert elsewhere == champion


def test_the_gate_gets_the_candidates_latency_by_the_champions(
    outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = outputs / "export" / "student.onnx"
    candidate, champion = session.load(path), session.load(path)

    def timed(networks: dict[str, session.Session], **_: float) -> dict[str, measure.Latency]:
        slow = {name: 3.0 if network is candidate else 2.0 for name, network in networks.items()}
        return {name: measure.Latency(median, 9.0) for name, median in slow.items()}

    monkeypatch.setattr(measure, "of_one_image", timed)
    assert assessment._latency_ratio(candidate, champion) == 1.5
