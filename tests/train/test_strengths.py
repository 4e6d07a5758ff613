"""Strengths of images: what they are, and trainings whose augmentation follows them."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.stats import entropy
from torch import nn

from rolekd.augment.engine import Engine
from rolekd.augment.handmade import Adaptive, RandAugment
from rolekd.data import dataset as datasets
from rolekd.data.batches import Batches, Normalize
from rolekd.distill.objective import Objective
from rolekd.params import (
    BaseAugmentParams,
    DataParams,
    ModelParams,
    TeacherParams,
    TrainingParams,
)
from rolekd.sources.prepare import prepare
from rolekd.train import roles, state
from rolekd.train.augmentation import Following, applied, constant, make_engine
from rolekd.train.fit import fit
from rolekd.train.strengths import Strengths, confidence
from rolekd.train.training import Training

SPLITS = ("search_train", "search_val", "train", "test")
PARAMS = TrainingParams(epochs=4, batch_size=16, learning_rate=1e-2)
LOGITS = arrays.arrays(
    np.float32,
    st.tuples(st.integers(1, 6), st.integers(1, 12)),
    elements=st.floats(-50, 50, width=32),
)


@given(LOGITS)
def test_confidence_is_one_minus_the_entropy_of_the_softmax_over_that_of_equal_classes(logits):
    found = confidence(torch.from_numpy(logits))
    assert found.dtype == torch.float32
    wide = logits.astype(np.float64)
    exponentials = np.exp(wide - wide.max(axis=1, keepdims=True))
    most = math.log(logits.shape[1]) or 1.0  # of one class there is no doubt
    expected = 1 - entropy(exponentials, axis=1) / most
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)
    assert ((found >= 0) & (found <= 1)).all()


@given(LOGITS, st.integers(0, 2**32 - 1), st.floats(-20, 20, width=32))
def test_confidence_knows_neither_the_order_of_classes_nor_a_common_shift(logits, seed, shift):
    order = np.random.default_rng(seed).permutation(logits.shape[1])
    same = confidence(torch.from_numpy(logits[:, order] + np.float32(shift)))
    assert torch.allclose(confidence(torch.from_numpy(logits)), same, atol=1e-4)


def test_confidence_at_its_ends():
    even, certain = torch.zeros(2, 7), torch.tensor([[0.0, 200.0, 0.0], [-math.inf, 0, -math.inf]])
    assert (confidence(even) <= 1e-6).all()
    assert confidence(certain).tolist() == [1.0, 1.0]


@settings(deadline=None)
@given(
    st.integers(1, 9).flatmap(
        lambda n: st.tuples(
            st.just(n),
            st.lists(
                st.lists(st.tuples(st.integers(0, n - 1), st.floats(0, 1, width=32)), min_size=1),
                min_size=1,
                max_size=4,
            ),
        )
    )
)
def test_an_epoch_leaves_the_mean_of_what_it_showed(drawn):
    images, batches = drawn
    strengths = Strengths(images)
    strengths.values.fill_(0.25)
    shown = [tuple(zip(*batch, strict=True)) for batch in batches]
    strengths.learn([(np.array(where), torch.tensor(sure)) for where, sure in shown])
    for place in range(images):
        found = [sure for batch in batches for where, sure in batch if where == place]
        expected = sum(found) / len(found) if found else 0.25
        assert float(strengths.values[place]) == pytest.approx(expected, abs=1e-7)
    assert strengths.values.dtype == torch.float32


def test_levels_are_the_nearest_of_the_grid():
    strengths = Strengths(5)
    assert strengths.levels(31).tolist() == [0] * 5
    strengths.values.copy_(torch.tensor([0.0, 0.016, 0.017, 0.5, 1.0]))
    assert strengths.levels(31).tolist() == [0, 0, 1, 15, 30]
    assert strengths.levels(31).dtype == np.int64
    assert strengths.mean() == pytest.approx(1.533 / 5)


# Trainings


def _data(balance=False):
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), [36, 9, 3]).astype(np.int64)
    images = (rng.integers(0, 100, (48, 8, 8, 1)) + 70 * labels[:, None, None, None]).astype("u1")
    splits = dict.fromkeys(SPLITS, np.arange(48))
    made = datasets.assemble("levels", images, labels, tuple("abc"), splits)
    return replace(made, balance=balance)


def _network():
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)
    )


def _following(threads=1):
    return Following(Engine((90,), 1, True, threads=threads), Adaptive())


def _training(augment_at=None, balance=False, **options):
    data = _data(balance)
    params = PARAMS.model_copy(update=options)
    batches = Batches(data, "train", params.batch_size, 0, Normalize(data))
    return Training(_network(), Objective(), batches, augment_at or _following(), params)


OPTIONS = {
    "plain": {},
    "balance": {"balance": True},
    "rich": {"accumulate": 3, "ema_decay": 0.9, "reestimate_batchnorm": 32, "clip_norm": 1.0},
    "bfloat16": {"precision": "bfloat16"},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("stop", [1, 3])
def test_a_resumed_training_ends_in_the_same_bytes(tmp_path, options, stop):
    whole = _training(**options)
    rows = fit(whole, tmp_path / "whole")
    begun = _training(**options)
    for _ in range(stop):
        begun.run_epoch()
    begun.save(tmp_path / "resumed")
    resumed = _training(**options)
    assert fit(resumed, tmp_path / "resumed") == rows
    assert (tmp_path / "resumed").read_bytes() == (tmp_path / "whole").read_bytes()
    for ours, theirs in zip(
        resumed.network.state_dict().values(), whole.network.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs)
    assert 0 < rows[-1]["strength"] < 1


def test_no_training_depends_on_the_number_of_threads(tmp_path):
    for threads in (1, 4):
        fit(_training(_following(threads)), tmp_path / str(threads))
    assert (tmp_path / "1").read_bytes() == (tmp_path / "4").read_bytes()


def test_the_state_has_what_the_network_said_of_each_image(tmp_path):
    training, said = _training(epochs=2), []
    step = training.step

    def heard(images, labels, progress):
        sums, logits = step(images, labels, progress)
        said.append(logits)
        return sums, logits

    training.step = heard
    for epoch in range(2):
        said.clear()
        row = training.run_epoch()
        training.save(tmp_path / "state")
        batches = training._batches.epoch(epoch, lambda images, *_: images)
        expected = torch.zeros(48)
        expected[np.concatenate([places for *_, places in batches])] = confidence(torch.cat(said))
        assert torch.equal(state.read(tmp_path / "state")[0]["strengths.values"], expected)
        assert row["strength"] == pytest.approx(float(expected.mean()))


def test_each_image_is_augmented_at_its_own_strength():
    engine, data = Engine((90,), 1), _data()
    strengths = Strengths(48)
    strengths.values.copy_(torch.arange(48) / 47)
    at = Following(engine, Adaptive(), strengths)
    places = np.array([40, 3, 3, 17])
    out = at(5)(data.images[places], 7, places)
    for number, place in enumerate(places):
        magnitude = round(30 * place / 47)
        expected = engine.apply(data.images[places], RandAugment(2, magnitude), 7)
        assert np.array_equal(out[number], expected[number])


def test_two_trainings_with_one_augmentation_remember_apart(tmp_path):
    augment_at = _following()
    first, second = _training(augment_at), _training(augment_at)
    alone = fit(_training(), tmp_path / "alone")
    for _ in range(2):
        first.run_epoch()
    assert fit(second, tmp_path / "second") == alone
    assert augment_at.strengths is None


def test_what_learns_is_augmented_ever_more_strongly(tmp_path):
    """Here a teacher: the mechanism knows no role."""
    digits = prepare(DataParams(), seed=0)
    params = TeacherParams(model=ModelParams(width=4))
    network, _ = roles.teacher(params, digits, 0)
    training = TrainingParams(epochs=10, batch_size=64, learning_rate=1e-2)
    batches = Batches(digits, "search_train", 64, 0, Normalize(digits))
    engine = make_engine(BaseAugmentParams(), digits, 1)
    at = applied(engine, lambda _: Adaptive())
    rows = fit(Training(network, Objective(), batches, at, training), tmp_path / "state")
    strengths = [row["strength"] for row in rows]
    # what is learned is augmented more, until learning and augmentation balance
    assert strengths[0] < strengths[1] < strengths[9]
    assert min(strengths[4:]) > strengths[0] + 0.3


def test_a_state_goes_to_no_training_of_the_other_kind(tmp_path, caplog):
    plain = constant(Engine((90,), 1), None)
    for name, augment_at in (("following", None), ("plain", plain)):
        begun = _training(augment_at)
        begun.run_epoch()
        begun.save(tmp_path / name)
    rows = fit(_training(plain), tmp_path / "following")
    assert "strengths.values, which this training does not have" in caplog.text
    assert all("strength" not in row for row in rows)
    assert not any(n.startswith("strengths.") for n in state.read(tmp_path / "plain")[0])
    caplog.clear()
    fit(_training(), tmp_path / "plain")
    assert "its strengths.values does not fit" in caplog.text


def test_without_a_training_all_strengths_are_zero():
    engine, data = Engine((90,), 1), _data()
    at = constant(engine, Adaptive())
    assert isinstance(at, Following)
    out = at(0)(data.images, 3, np.arange(48))
    assert np.array_equal(out, engine.apply(data.images, RandAugment(2, 0), 3))
