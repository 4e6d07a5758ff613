from pathlib import Path

import numpy as np
import pytest
from comparisons import comparing, printed
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from rolekd.errors import InputError
from rolekd.report import datafiles, findings, histories, style, tables

CLASSES = ("cat", "dog", "fish")


def predictions(seed: int, seeds: int = 3, images: int = 60, skill: float = 1.0) -> tables.Floats:
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(seeds, images, len(CLASSES)))
    logits[:, np.arange(images), labels(images)] += skill
    return logits.astype(np.float32)


def labels(images: int = 60) -> tables.Integers:
    return np.random.default_rng(99).integers(0, len(CLASSES), images)


@pytest.fixture
def evaluation() -> tables.Evaluation:
    arms = {"plain": predictions(1), "kd-rolewise": predictions(2, skill=2.0)}
    return tables.summarise(arms, labels(), CLASSES, comparing(arms))


def test_figures_agree_with_scikit_learn(evaluation: tables.Evaluation) -> None:
    """Which would cost each stage an import for three lines of counting."""
    arm, logits = evaluation.arm("plain"), predictions(1)
    truth, guess = np.tile(labels(), 3), logits.argmax(-1).reshape(-1)
    expected = [metrics.accuracy_score(labels(), one.argmax(-1)) for one in logits]
    assert arm.accuracies == pytest.approx(expected)
    np.testing.assert_array_equal(arm.confusion, metrics.confusion_matrix(truth, guess))
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(truth, guess)
    found = tables.per_class(arm.confusion)
    np.testing.assert_allclose(found["precision"], precision)
    np.testing.assert_allclose(found["recall"], recall)
    np.testing.assert_allclose(found["f1"], f1)


def test_where_arms_differ_in_it_each_says_what_it_starts_from(
    evaluation: tables.Evaluation,
) -> None:
    assert evaluation.describe("plain") == "not distilled, from scratch, no policy"
    assert evaluation.describe("kd-rolewise") == (
        "distilled, from the teacher's weights, its own schedule"
    )
    arms = {"kd": predictions(1), "kd-rolewise": predictions(2)}
    alike = tables.summarise(arms, labels(), CLASSES, comparing(arms))
    assert alike.describe("kd-rolewise") == "distilled, its own schedule"


def test_a_difference_has_interval_and_p(evaluation: tables.Evaluation) -> None:
    plain, rolewise = (evaluation.arm(name).accuracies for name in ("plain", "kd-rolewise"))
    found = evaluation.arm("plain").difference
    assert found is not None
    assert found.mean == pytest.approx(np.mean(plain) - np.mean(rolewise))
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.mean < found.high
    assert found.p_value == found.adjusted == 0.25  # the least of 3 pairs
    assert not found.is_clear
    assert evaluation.arm("kd-rolewise").difference is None


def test_one_seed_has_a_mean_alone_and_so_have_equal_ones() -> None:
    right, reference = (
        np.array([[True, True, False, False]]),
        np.array([[True, False, False, False]]),
    )
    gap = tables.paired_difference(right, reference)
    assert gap == tables.Difference(0.25)
    assert tables.paired_difference(np.tile(right, (3, 1)), np.tile(right, (3, 1))).p_value is None
    # equal gaps are evidence like others
    alike = tables.paired_difference(np.tile(right, (8, 1)), np.tile(reference, (8, 1)))
    assert alike.p_value == 2 / 2**8
    assert alike.low is not None


def test_a_difference_is_clear_where_neither_seeds_nor_images_are_chance() -> None:
    assert tables.Difference(0.1, 0.02, 0.2, 0.01, 0.03).is_clear
    assert not tables.Difference(0.1, -0.02, 0.2, 0.01, 0.03).is_clear
    assert not tables.Difference(0.1, 0.02, 0.2, 0.01, 0.06).is_clear
    assert not tables.Difference(0.1).is_clear


def test_one_seed_has_no_deviation() -> None:
    evaluation = tables.summarise(
        {"kd-rolewise": predictions(1, seeds=1)}, labels(), CLASSES, comparing(["kd-rolewise"])
    )
    assert evaluation.arms[0].deviation is None
    assert "±" not in printed(evaluation)


def test_calibration_by_hand() -> None:
    """Two images at 0.8, one right; two at 0.6, both right: |0.5-0.8|/2 + |1-0.6|/2."""
    probabilities = np.array([[0.8, 0.2], [0.8, 0.2], [0.4, 0.6], [0.4, 0.6]])
    found = tables.calibration(np.log(probabilities), np.array([0, 1, 1, 1]), bins=10)
    assert found.error == pytest.approx(0.35)
    assert found.count.sum() == 4


@settings(max_examples=50)
@given(st.integers(0, 10**6), st.integers(1, 30), st.floats(0.01, 1000))
def test_calibration_counts_every_prediction_once(seed: int, bins: int, scale: float) -> None:
    logits = scale * np.random.default_rng(seed).normal(size=(40, 3))
    found = tables.calibration(logits, labels(40), bins)
    assert found.count.sum() == 40
    assert 0.0 <= found.error <= 1.0
    filled = found.count > 0
    assert np.all(found.confidence[filled] <= found.edges[1:][filled] + 1e-9)
    assert np.all(found.confidence[filled] >= found.edges[:-1][filled] - 1e-9)


@given(st.integers(0, 10**6))
def test_confusion_counts(seed: int) -> None:
    generator = np.random.default_rng(seed)
    truth, guess = generator.integers(0, 4, (2, 50))
    counts = tables.confusion(guess, truth, 4)
    assert counts.sum() == 50
    assert np.trace(counts) == (truth == guess).sum()
    np.testing.assert_array_equal(counts.sum(1), np.bincount(truth, minlength=4))


@pytest.mark.parametrize(
    ("arms", "message"),
    [
        (
            {"plain": predictions(1)},
            "predictions of plain, but the arms of params",
        ),
        ({"kd-rolewise": predictions(1, images=59)}, r"\(3, 59, 3\) instead of \(3, 60, 3\)"),
        ({"kd-rolewise": predictions(1), "kd": predictions(1, seeds=2)}, "arm 'kd'"),
        ({"kd-rolewise": np.full((3, 60, 3), np.nan)}, "not finite"),
        ({"kd-rolewise": np.zeros((0, 60, 3))}, "shape"),
    ],
)
def test_bad_predictions_are_refused(arms: dict[str, tables.Floats], message: str) -> None:
    with pytest.raises(InputError, match=message):
        tables.summarise(
            arms, labels(), CLASSES, comparing(["kd-rolewise", *(arms.keys() & {"kd"})])
        )


def test_files(evaluation: tables.Evaluation, tmp_path: Path) -> None:
    datafiles.write_tables(evaluation, tmp_path)
    header, *lines = (tmp_path / "confusion.csv").read_text().splitlines()
    assert header == "arm,actual,predicted,count"
    assert sum(int(line.split(",")[-1]) for line in lines) == 2 * 3 * 60
    assert len((tmp_path / "seeds.csv").read_text().splitlines()) == 1 + 2 * 3
    # dvc's plots have the report's colours
    shades = {arm.name: style.colours(evaluation.compare)[arm.name] for arm in evaluation.arms}
    for name in ("seeds", "calibration"):
        rows = histories.read_rows(tmp_path / f"{name}.csv")
        assert {row["arm"]: row["colour"] for row in rows} == shades
    per_class = (tmp_path / "per_class.csv").read_text().splitlines()
    assert sum(int(line.split(",")[2]) for line in per_class[1:]) == 2 * 60
    assert (tmp_path / "arms.json").exists()


def test_predictions_survive_the_disk(tmp_path: Path) -> None:
    arms = {"kd": predictions(1), "kd-rolewise": predictions(2)}
    weights = {"kd": ["ab"], "kd-rolewise": ["cd", "ef"]}
    datafiles.save_predictions(tmp_path / "p.npz", arms, labels(), weights)
    assert datafiles.load_weights(tmp_path / "p.npz") == weights
    found, truth = datafiles.load_predictions(tmp_path / "p.npz")
    assert list(found) == list(arms)
    for name, array in arms.items():
        np.testing.assert_array_equal(found[name], array)
    np.testing.assert_array_equal(truth, labels())
    (tmp_path / "p.npz").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"p\.npz"):
        datafiles.load_predictions(tmp_path / "p.npz")


def test_terminal_table_says_what_the_numbers_say(evaluation: tables.Evaluation) -> None:
    text = printed(evaluation)
    plain = evaluation.arm("plain")
    assert plain.difference is not None
    assert plain.difference.low is not None
    assert f"{100 * plain.mean:.2f} ±" in text
    assert f"{100 * plain.difference.mean:+.2f}" in text
    assert f"{100 * plain.difference.low:+.2f} …" in text
    assert "over paired seeds" in text
    assert "0.250" in text


def test_a_tie_loses_no_place_and_is_zero_without_a_sign() -> None:
    own = predictions(2)
    shared = own[[1, 2, 0]]  # the same counts of other seeds: their mean differs by rounding
    arms = {"kd-shared": shared, "plain": predictions(1, skill=0.0), "kd-rolewise": own}
    found = tables.summarise(arms, labels(), CLASSES, comparing(arms))
    assert "schedule from the teacher's: +0.0 points" in findings.headline(found)
    place = findings.remarks(found)[0]
    assert place.endswith("ranks 1st of 3, together with distillation with the teacher's schedule.")
