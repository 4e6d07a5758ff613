from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import verifications
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from onnx_models import linear_model

from rolekd import files
from rolekd.data import dataset as datasets
from rolekd.data.dataset import Dataset
from rolekd.errors import InputError
from rolekd.export import measure, session
from rolekd.outputs import Outputs
from rolekd.registry import assessment, evidence
from rolekd.registry.card import _text, card
from rolekd.report.datafiles import load_predictions, save_predictions


@pytest.fixture
def outputs(tmp_path: Path) -> Outputs:
    """What the stages before `register` leave, for a network of random weights."""
    outputs = Outputs(tmp_path / "outputs")
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (100, 8, 8, 1), dtype=np.uint8)
    labels = np.arange(100) % 10
    parts = {"train": 0, "search_train": 0, "search_val": 30, "test": 60}
    splits = {name: np.arange(start, start + 30) for name, start in parts.items()}
    classes = tuple(f"digit {number}" for number in range(10))
    dataset = datasets.assemble("digits", images, labels, classes, splits)
    datasets.save(dataset, outputs.data)
    outputs.graph.parent.mkdir()
    path = linear_model(outputs.graph, metadata={"weights_sha256": "first"})
    test_images, test_labels = dataset.split("test")
    logits, _ = session.load(path)(test_images)
    save_predictions(
        outputs.predictions,
        {"kd-rolewise": np.stack([logits, logits[:, ::-1]])},
        test_labels,
        {"kd-rolewise": ["first", "second"]},
    )
    size, sha256 = path.stat().st_size, files.sha256(path)
    verifications.save(outputs, size=size, images=30, sha256=sha256)
    return outputs


def test_evidence_is_about_the_exported_file(outputs: Outputs) -> None:
    found = evidence.gather_evidence(outputs, "kd-rolewise", 0)
    dataset = datasets.load(outputs.data)
    images, labels = dataset.split("test")
    logits, _ = session.load(outputs.graph)(images)
    assert found.predictions == tuple(logits.argmax(1))
    assert found.accuracy == found.accuracies[0] == (logits.argmax(1) == labels).mean()
    assert found.data_digest == dataset.digest
    assert found.sha256 == files.sha256(outputs.graph)


@pytest.mark.parametrize(("arm", "seed"), [("kd", 0), ("kd-rolewise", 2)])
def test_what_was_not_evaluated_has_no_evidence(outputs: Outputs, arm: str, seed: int) -> None:
    with pytest.raises(InputError, match="evaluate again"):
        evidence.gather_evidence(outputs, arm, seed)


def test_predictions_of_other_weights_are_not_evidence(outputs: Outputs) -> None:
    with pytest.raises(InputError, match=r"seed 1, are of other weights .*; dvc repro evaluate ex"):
        evidence.gather_evidence(outputs, "kd-rolewise", 1)
    linear_model(outputs.graph, metadata={"weights_sha256": "of another training"})
    with pytest.raises(InputError, match=r"is not the file that .* is about; dvc repro export"):
        evidence.gather_evidence(outputs, "kd-rolewise", 0)
    verifications.save(outputs, size=1, images=30, sha256=files.sha256(outputs.graph))
    with pytest.raises(InputError, match=r"predictions\.npz: .* are of other weights than"):
        evidence.gather_evidence(outputs, "kd-rolewise", 0)


def test_predictions_that_do_not_say_of_which_weights_are_not_evidence(outputs: Outputs) -> None:
    logits, labels = load_predictions(outputs.predictions)
    save_predictions(outputs.predictions, logits, labels)
    with pytest.raises(InputError, match=r"predictions\.npz: does not say which weights"):
        evidence.gather_evidence(outputs, "kd-rolewise", 0)


def test_card_names_failures_first(outputs: Outputs) -> None:
    found = evidence.gather_evidence(outputs, "kd-rolewise", 0)
    dataset = datasets.load(outputs.data)
    text = card(found, dataset, {}, "rolekd-digits-student", ["Teacher: 10 %, *chance*."])
    assert "## Failures\n- Teacher: 10 %, \\*chance\\*.\n\n## Figures" in text
    assert "## Failures" not in card(found, dataset, {}, "rolekd-digits-student")


def test_card_says_what_was_measured(outputs: Outputs) -> None:
    found = evidence.gather_evidence(outputs, "kd-rolewise", 0)
    dataset: Dataset = datasets.load(outputs.data)
    text = card(found, dataset, {"student's schedule": "ab12"}, "rolekd-digits-student")
    assert f"test accuracy {100 * found.accuracy:.2f} % on 30 images" in text
    assert dataset.digest in text
    assert "- student's schedule: ab12" in text
    assert "digit 9" in text


def test_champion_of_older_data_is_tested_anew(outputs: Outputs) -> None:
    candidate = evidence.gather_evidence(outputs, "kd-rolewise", 0)
    champion = replace(candidate, data_digest="older", labels=(0,), predictions=(0,))
    network = session.load(outputs.graph)
    found = assessment._on_the_same_data(champion, candidate, network, outputs.data)
    assert found == replace(candidate, accuracies=champion.accuracies)
    elsewhere = assessment._on_the_same_data(champion, candidate, network, outputs.root / "none")
    assert elsewhere == champion


def test_the_gate_gets_the_candidates_latency_by_the_champions(
    outputs: Outputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = outputs.graph
    candidate, champion = session.load(path), session.load(path)

    def timed(networks: dict[str, session.Session], **_: float) -> dict[str, measure.Latency]:
        slow = {name: 3.0 if network is candidate else 2.0 for name, network in networks.items()}
        return {name: measure.Latency(median, 9.0) for name, median in slow.items()}

    monkeypatch.setattr(measure, "of_one_image", timed)
    assert assessment._latency_ratio(candidate, champion) == 1.5


SHOWN = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF), min_size=1).filter(
    lambda name: name.isprintable() and name.strip() == name and "@" not in name and "=" not in name
)


@given(st.lists(SHOWN, min_size=2, max_size=3))
@example(["$^$", "<!--<script>", "a_b*c|d"])
@example(["# a", "1. b", "- c"])
@example(["1. b", "2"])
@example(["![x](http://h/p.png)", "&lt;", "``code``"])
def test_markdown_shows_foreign_names_as_they_are(names: list[str]) -> None:
    parsed = MarkdownIt("commonmark").enable("table").parse(", ".join(map(_text, names)) + ".")
    assert [block.type for block in parsed] == ["paragraph_open", "inline", "paragraph_close"]
    inline = parsed[1].children or []
    assert {part.type for part in inline} <= {"text", "text_special"}
    assert "".join(part.content for part in inline) == ", ".join(names) + "."


def test_card_blanks_secrets_and_escapes_what_is_foreign(outputs: Outputs) -> None:
    dataset = replace(datasets.load(outputs.data), classes=("<!--<script>", "a_b*c|d"))
    facts = {"source": "https://ann:hush@host/x", "token": "hush", "line": "a\n# b\x1b[2J"}
    found = evidence.gather_evidence(outputs, "kd-rolewise", 0)
    text = card(found, dataset, facts, "rolekd-my photos-student")
    assert "hush" not in text
    assert "- source: https://\\*\\*\\*@host/x" in text
    assert "- line: a\\\\n\\# b\\\\x1b\\[2J" in text
    assert "&lt;\\!--&lt;script&gt;, a\\_b\\*c\\|d." in text
    assert "serve -m 'models:/rolekd-my photos-student@champion'" in text
