import data_files
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolekd.data import dataset as datasets
from rolekd.errors import InputError
from rolekd.params import DataParams
from rolekd.sources.prepare import prepare
from rolekd.sources.splits import all_splits, redrawn, stratified


def _groups(count: int, distinct: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, distinct, count)


def _sizes(test_fraction, search_validation_fraction, training_images=None):
    return DataParams(
        test_fraction=test_fraction,
        search_validation_fraction=search_validation_fraction,
        training_images=training_images,
    )


@settings(max_examples=40, deadline=None)
@given(
    st.integers(50, 200),
    st.integers(20, 400),
    st.floats(0.05, 0.95),
    st.integers(0, 2**63 - 1),
)
def test_parts_are_disjoint_complete_and_share_not_content(count, distinct, fraction, seed):
    groups = _groups(count, distinct, seed % 1000)
    labels = np.random.default_rng(seed % 1000).integers(0, 3, count).astype(np.int64)
    everything = np.arange(count)
    first, second = stratified(everything, groups, labels, fraction, seed)
    assert sorted([*first, *second]) == everything.tolist()
    assert not set(groups[first]) & set(groups[second])


def test_classes_keep_their_shares_and_the_seed_decides():
    labels = np.repeat(np.arange(4), [400, 200, 100, 50]).astype(np.int64)
    groups = np.arange(750)
    first, second = stratified(np.arange(750), groups, labels, 0.2, 1)
    assert np.bincount(labels[second]).tolist() == [80, 40, 20, 10]
    again = stratified(np.arange(750), groups, labels, 0.2, 1)
    assert np.array_equal(first, again[0])
    assert not np.array_equal(second, stratified(np.arange(750), groups, labels, 0.2, 2)[1])


def test_the_sources_own_test_split_is_kept():
    labels = np.tile(np.arange(2), 50).astype(np.int64)
    test = np.arange(80, 100)
    splits = all_splits(np.arange(100), labels, ("a", "b"), test, _sizes(0.5, 0.25), 0)
    assert np.array_equal(splits["test"], test)
    assert np.array_equal(splits["train"], np.arange(80))
    assert len(splits["search_val"]) == 20
    joined = np.union1d(splits["search_train"], splits["search_val"])
    assert np.array_equal(joined, splits["train"])


def test_a_class_with_too_few_images_is_named():
    labels = np.array([0] * 20 + [1] * 3, dtype=np.int64)
    with pytest.raises(InputError, match=r"class b \(3\)"):
        all_splits(np.arange(23), labels, ("a", "b"), None, _sizes(0.2, 0.5), 0)
    with pytest.raises(InputError, match="only one class"):
        all_splits(np.arange(20), labels[:20], ("a",), None, _sizes(0.2, 0.5), 0)


def test_what_is_in_the_sources_test_split_is_not_trained_on():
    labels = np.tile(np.arange(2), 50).astype(np.int64)
    groups = np.arange(100)
    groups[[3, 4, 50]] = [80, 81, 80]
    splits = all_splits(groups, labels, ("a", "b"), np.arange(80, 100), _sizes(0.5, 0.25), 0)
    assert np.array_equal(splits["test"], np.arange(80, 100))
    assert np.array_equal(splits["train"], np.setdiff1d(np.arange(80), [3, 4, 50]))
    assert not set(groups[splits["train"]]) & set(groups[splits["test"]])


def test_a_class_that_only_the_test_split_has_is_told():
    labels = np.array([0] * 20 + [1] * 20, dtype=np.int64)
    with pytest.raises(InputError, match=r"to train on .* in class b \(0\)"):
        all_splits(np.arange(40), labels, ("a", "b"), np.arange(20, 40), _sizes(0.2, 0.5), 0)


@pytest.mark.parametrize("count", [24, 40, 80, 1000])
def test_training_images_are_drawn_of_each_class_its_share(count):
    labels = np.repeat([0, 1, 0, 1], [60, 20, 10, 10]).astype(np.int64)
    groups, test = np.arange(100), np.arange(80, 100)
    splits = all_splits(groups, labels, ("a", "b"), test, _sizes(0.2, 0.5, count), 0)
    assert np.array_equal(splits["test"], test)
    assert len(splits["train"]) == min(count, 80)
    assert np.bincount(labels[splits["train"]]).tolist() == [
        3 * len(splits["train"]) // 4,
        len(splits["train"]) // 4,
    ]
    joined = np.union1d(splits["search_train"], splits["search_val"])
    assert np.array_equal(joined, splits["train"])
    other = all_splits(groups, labels, ("a", "b"), test, _sizes(0.2, 0.5, count), 1)
    assert np.array_equal(splits["train"], other["train"]) == (count >= 80)


def test_training_images_that_leave_a_class_too_few_are_refused():
    labels = np.repeat([0, 1, 0, 1], [60, 20, 10, 10]).astype(np.int64)
    with pytest.raises(InputError, match=r"with training_images, in class b \(3\)"):
        all_splits(np.arange(100), labels, ("a", "b"), np.arange(80, 100), _sizes(0.2, 0.5, 12), 0)


@pytest.mark.parametrize("count", [24, 40, None])
def test_without_a_test_split_of_the_source_the_others_are_tested_on(count):
    labels = np.repeat([0, 1], [60, 40]).astype(np.int64)
    groups = np.repeat(np.arange(50), 2)
    splits = all_splits(groups, labels, ("a", "b"), None, _sizes(0.2, 0.5, count), 0)
    assert len(splits["train"]) == pytest.approx(80 if count is None else count, abs=2)
    everything = np.concatenate([splits["train"], splits["test"]])
    assert np.array_equal(np.sort(everything), np.arange(100))
    assert not set(groups[splits["train"]]) & set(groups[splits["test"]])


def test_the_sources_own_validation_images_stay_what_they_are():
    labels = np.tile(np.arange(2), 50).astype(np.int64)
    test, validation = np.arange(80, 100), np.arange(60, 80)
    sizes = _sizes(0.5, 0.25)
    splits = all_splits(np.arange(100), labels, ("a", "b"), test, sizes, 0, validation)
    assert np.array_equal(splits["test"], test)
    assert np.array_equal(splits["search_val"], validation)
    assert np.array_equal(splits["train"], np.arange(60))
    assert np.array_equal(splits["search_train"], splits["train"])


def test_without_a_test_split_it_is_drawn_from_what_is_not_for_validation():
    labels = np.tile(np.arange(2), 50).astype(np.int64)
    validation = np.arange(60, 80)
    splits = all_splits(np.arange(100), labels, ("a", "b"), None, _sizes(0.5, 0.25), 0, validation)
    assert np.array_equal(splits["search_val"], validation)
    assert len(splits["test"]) == 40
    assert np.array_equal(np.union1d(splits["train"], splits["test"]), np.r_[:60, 80:100])


def test_an_image_of_several_splits_stays_where_it_decides_least():
    labels = np.tile(np.arange(2), 50).astype(np.int64)
    groups = np.arange(100)
    groups[[3, 61]] = 90  # also a test image
    groups[4] = 70  # also a validation image
    splits = all_splits(
        groups, labels, ("a", "b"), np.arange(80, 100), _sizes(0.2, 0.5), 0, np.arange(60, 80)
    )
    assert np.array_equal(splits["test"], np.arange(80, 100))
    assert np.array_equal(splits["search_val"], np.r_[60, 62:80])
    assert np.array_equal(splits["train"], np.setdiff1d(np.arange(60), [3, 4]))


def test_validation_images_that_are_all_test_images_are_refused():
    labels = np.tile(np.arange(2), 20).astype(np.int64)
    groups = np.r_[np.arange(30), np.arange(20, 30)]
    with pytest.raises(InputError, match="no validation image that is not in the test split"):
        all_splits(
            groups, labels, ("a", "b"), np.arange(30, 40), _sizes(0.2, 0.5), 0, np.arange(20, 30)
        )


def test_validation_images_of_the_users_own_are_not_drawn_anew(tmp_path):
    raw = data_files.divided(tmp_path / "raw", ("train", "val", "test"))
    held = prepare(DataParams(source="image-folder", path=raw, image_size=8), 0)
    assert held.own_validation
    assert redrawn(held, 0.3, 7) is held
    datasets.save_splits(held, ("search_train", "search_val"), tmp_path / "part")
    part = datasets.load(tmp_path / "part")
    assert redrawn(part, 0.3, 7) is part
