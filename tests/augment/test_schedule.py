"""Schedules: which policy acts when, and the file."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolekd.augment import schedule as schedules
from rolekd.augment.policy import LENGTH, OPERATIONS, Policy
from rolekd.augment.schedule import Schedule
from rolekd.errors import InputError


def policy(value: int) -> Policy:
    return Policy([value] * LENGTH)


SCHEDULE = Schedule(20, [(0, policy(0)), (6, policy(1)), (13, policy(2))])


def test_every_epoch_has_the_policy_of_its_segment():
    used = [SCHEDULE.policy_at(epoch).values[0] for epoch in range(20)]
    assert used == [0] * 6 + [1] * 7 + [2] * 7


@pytest.mark.parametrize("epoch", [-1, 20, 1000])
def test_epochs_outside_are_refused(epoch):
    with pytest.raises(InputError, match=f"epoch {epoch} is outside its 20 epochs"):
        SCHEDULE.policy_at(epoch)


@st.composite
def any_schedule(draw: st.DrawFn) -> Schedule:
    epochs = draw(st.integers(1, 60))
    starts = sorted({0, *draw(st.lists(st.integers(0, epochs - 1), max_size=5))})
    return Schedule(epochs, [(start, policy(i)) for i, start in enumerate(starts)])


@given(schedule=any_schedule(), epochs=st.integers(1, 200))
def test_stretching_keeps_the_order_and_the_places(schedule, epochs):
    stretched = schedule.stretch(epochs)
    assert stretched.epochs == epochs
    order = [p.values[0] for _, p in stretched.segments]
    assert order == sorted(set(order))
    assert order[-1] == schedule.segments[-1][1].values[0]
    if epochs % schedule.epochs == 0:
        factor = epochs // schedule.epochs
        for epoch in range(epochs):
            assert stretched.policy_at(epoch) == schedule.policy_at(epoch // factor)


def test_stretching_to_the_same_length_changes_nothing():
    assert SCHEDULE.stretch(20) == SCHEDULE


@given(schedule=any_schedule())
def test_files_round_trip(tmp_path_factory, schedule):
    path = tmp_path_factory.getbasetemp() / "schedule.json"
    schedule.save(path)
    assert schedules.load(path) == schedule


def test_the_file_is_the_documented_one(tmp_path):
    SCHEDULE.save(tmp_path / "s.json")
    assert json.loads((tmp_path / "s.json").read_text()) == {
        "version": 1,
        "epochs": 20,
        "operations": list(OPERATIONS),
        "segments": [[0, [0] * 60], [6, [1] * 60], [13, [2] * 60]],
    }


def changed(**changes: object) -> dict:
    return {**SCHEDULE.to_json(), **changes}


def without(key: str) -> dict:
    return {k: v for k, v in SCHEDULE.to_json().items() if k != key}


ZEROS = [0] * 60


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([], "is not a JSON object"),
        (without("epochs"), "epochs: is missing"),
        (changed(name="x"), "name: unknown key"),
        (changed(version=2), "version: is 2, this program reads 1"),
        (changed(operations=sorted(OPERATIONS)), "operations: are not the known ones"),
        (changed(operations=[*OPERATIONS, "Blur"]), "operations: are not the known ones"),
        (changed(epochs=0), "epochs: is 0"),
        (changed(epochs=-3), "epochs: is -3"),
        (changed(epochs=2.5), "epochs: is 2.5"),
        (changed(epochs=True), "epochs: is True"),
        (changed(epochs=13), "segment 2: starts at epoch 13, which does not fit in 13 epochs"),
        (changed(segments=[]), "segments: there is none"),
        (changed(segments={}), "segments: is not a list"),
        (changed(segments=[[0]]), "segment 0: is not"),
        (changed(segments=[[0, ZEROS[1:]]]), "segment 0: policy: has 59 integers"),
        (changed(segments=[[0, [11, *ZEROS[1:]]]]), "segment 0: policy: integer 0 .* is 11"),
        (changed(segments=[[0, ZEROS], [0.5, ZEROS]]), "segment 1: start 0.5 is not an integer"),
        (changed(segments=[[1, ZEROS]]), "segment 0: starts at epoch 1; the first must start"),
        (changed(segments=[[0, ZEROS], [5, ZEROS], [5, ZEROS]]), "segment 2: starts at epoch 5"),
    ],
)
def test_faults_name_the_file_and_the_place(tmp_path, content, said):
    path = tmp_path / "s.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=said) as error:
        schedules.load(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_damaged_and_missing_files(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        schedules.load(tmp_path / "none.json")
    (tmp_path / "cut.json").write_text('{"version": 1')
    with pytest.raises(InputError, match="not valid JSON"):
        schedules.load(tmp_path / "cut.json")


@pytest.mark.parametrize("version", [True, 1.0, "1", 10**400])
def test_a_version_is_an_integer(version):
    with pytest.raises(InputError, match="version: is"):
        schedules.parse(SCHEDULE.to_json() | {"version": version}, "s")


@pytest.mark.parametrize("epochs", [0, -1, 10**30])
def test_stretching_to_nothing_or_without_end_is_refused(epochs):
    with pytest.raises(InputError, match="from 1 to 10000"):
        SCHEDULE.stretch(epochs)
