"""Slots of a student's search whose objective has a state of its own."""

import json
import pickle
import random
import shutil
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from rolekd import seeds
from rolekd.augment import ladder
from rolekd.augment.named import NamedAugmentation
from rolekd.augment.schedule import Schedule
from rolekd.data import dataset as datasets
from rolekd.errors import HopelessError, InputError, RunError
from rolekd.files import sha256
from rolekd.fleet.studies import JobStudy
from rolekd.fleet.tasks import Slot
from rolekd.params import Params, TeacherParams, parse
from rolekd.search import member as member_module
from rolekd.search.member import DATA, TEACHER_FILE, Member, make_spec
from rolekd.sources import splits
from rolekd.train import roles, state
from rolekd.train.training import DivergedError

NOTHING = (0,) * 60


@pytest.fixture(scope="module")
def inputs(tmp_path_factory, digits):
    folder = tmp_path_factory.mktemp("inputs")
    datasets.save_splits(digits, ("search_train", "search_val"), folder / DATA)
    section = {"model": {"name": "resnet8", "width": 6}}
    network, about = roles.teacher(TeacherParams.model_validate(section), digits, 0)
    state.save_weights(folder / TEACHER_FILE, network, about)
    return folder


def _member(inputs, training_params=None, **distill):
    student = {"model": {"width": 4}, "training": training_params or {}}
    params: Params = parse({"student": student, "distill": distill}, "the test")
    search = params.search.model_copy(update={"epochs": 4, "interval_epochs": 1})
    return Member(
        make_spec(params.model_copy(update={"search": search}), "student", inputs), inputs, inputs
    )


@pytest.mark.parametrize("loss", ["ii", "ft"])
def test_slots_continue_from_their_parents_heads(inputs, tmp_path, loss):
    def two_slots(name):
        first, second = tmp_path / f"{name}-1", tmp_path / f"{name}-2"
        # a member of its own for each, as after a restart or on another machine
        _member(inputs, loss=loss).advance(None, NOTHING, Slot(0, 0), 0, 1, first)
        _member(inputs, loss=loss).advance(first, NOTHING, Slot(1, 0), 1, 1, second)
        return first, second

    one, again = two_slots("one"), two_slots("again")
    assert [sha256(path) for path in one] == [sha256(path) for path in again]
    heads = [
        {
            key: value
            for key, value in state.read(path)[0].items()
            if ".heads." in key or ".paraphraser." in key
        }
        for path in one
    ]
    assert heads[0]
    assert all((heads[0][key] == heads[1][key]).all() for key in heads[0])


@pytest.mark.parametrize(
    ("start", "changed", "reason"),
    [
        (2, {}, "of 1 epochs instead of 2"),
        (1, {"temperature": 2.0}, r"another training \(objective differ\)"),
        (1, None, "damaged"),
    ],
)
def test_a_parents_state_that_is_another_is_not_trained_from(
    inputs, tmp_path, start, changed, reason
):
    parent = tmp_path / "parent"
    _member(inputs).advance(None, NOTHING, Slot(0, 0), 0, 1, parent)
    if changed is None:
        parent.write_bytes(parent.read_bytes()[:-1])
    member = _member(inputs, **(changed or {}))
    message = f"member 1 of generation 1 starts from a training state that is .*{reason}.*delete"
    with pytest.raises(RunError, match=message):
        member.advance(parent, NOTHING, Slot(1, 1), start, 1, tmp_path / "child")
    assert list(tmp_path.iterdir()) == [parent]


def test_a_child_takes_over_another_members_heads(inputs, tmp_path):
    parent = tmp_path / "parent"
    member = _member(inputs, loss="ii")
    member.advance(None, NOTHING, Slot(0, 0), 0, 1, parent)
    member.advance(parent, NOTHING, Slot(1, 1), 1, 1, tmp_path / "child")
    kept, taken = (state.read(p)[0] for p in (parent, tmp_path / "child"))
    heads = [key for key in kept if ".heads." in key]
    assert heads
    assert all((kept[key] == taken[key]).all() for key in heads)


def test_a_member_is_measured_with_new_statistics_and_continued_with_its_own(inputs, tmp_path):
    members = [_member(inputs, {"reestimate_batchnorm": images}) for images in (0, 512)]
    for member, name in zip(members, ("own", "new"), strict=True):
        member.advance(None, NOTHING, Slot(0, 0), 0, 1, tmp_path / name)
    own, new = (state.read(tmp_path / name)[0] for name in ("own", "new"))
    assert own.keys() == new.keys()
    assert all((own[key] == new[key]).all() for key in own)
    seen = []

    def measured(network, *_):
        seen.append(network.state_dict())
        raise KeyboardInterrupt

    for member in members:
        with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr("rolekd.search.member.predict", measured)
            member.advance(None, NOTHING, Slot(0, 0), 0, 1, tmp_path / "other")
    different = {key for key in seen[0] if not (seen[0][key] == seen[1][key]).all()}
    assert different
    assert all("running_" in key or "num_batches" in key for key in different)


def test_the_final_trains_anew_on_a_split_of_the_seed(inputs):
    member = _member(inputs)
    none, strong = (Schedule.constant(ladder.policy(f"all-{s}"), 4) for s in (0, 10))
    one, again = (member.confirm(none, 0, 2) for _ in range(2))
    assert one.accuracy == again.accuracy  # nothing is left over from a training
    assert member.confirm(none, 1, 2).accuracy != one.accuracy
    assert member.confirm(strong, 0, 2).accuracy != one.accuracy
    assert 0 < one.extras["teacher_stddev"] < 0.5


def _anew(inputs, keep, teacher="anew", taught=None):
    section = {"model": {"name": "resnet8", "width": 6}, "training": {"epochs": 2}}
    params = parse(
        {
            "teacher": section,
            "student": {"model": {"width": 4}},
            "search": {"confirm": {"teacher": teacher}},
        },
        "the test",
    )
    return Member(make_spec(params, "student", inputs, None, taught), inputs, keep)


def test_a_students_final_can_have_a_teacher_of_its_split(inputs, tmp_path):
    none = Schedule.constant(ladder.policy("all-0"), 4)
    folders = [tmp_path / name for name in ("one", "another", "augmented")]
    for folder in folders:
        folder.mkdir()
    one = _anew(inputs, folders[0])
    first = one.confirm(none, 0, 2)
    assert first.accuracy != _anew(inputs, tmp_path, "given").confirm(none, 0, 2).accuracy
    (kept,) = folders[0].iterdir()  # neither its state nor a lock
    written = kept.stat().st_mtime_ns
    assert _anew(inputs, folders[0]).confirm(none, 0, 2).extras == first.extras
    assert kept.stat().st_mtime_ns == written  # of a machine's workers one trains it
    # on another machine it is the same, and so is what is found
    assert _anew(inputs, folders[1]).confirm(none, 0, 2).extras == first.extras
    assert sha256(folders[1] / kept.name) == sha256(kept)
    one.confirm(none, 1, 2)
    assert len({sha256(path) for path in folders[0].iterdir()}) == 2
    # augmented as the one that is given was
    taught = NamedAugmentation("x", Schedule.constant(ladder.policy("all-8"), 4)).to_json()
    _anew(inputs, folders[2], taught=taught).confirm(none, 0, 2)
    assert sha256(folders[2] / kept.name) != sha256(kept)


def test_a_teacher_of_a_split_that_diverges_is_told_with_the_key_of_its_rate(
    inputs, tmp_path, monkeypatch
):
    def diverge(*_):
        raise DivergedError("training: the loss became nan in epoch 1; lower the learning rate")

    monkeypatch.setattr(member_module, "fit", diverge)
    with pytest.raises(
        HopelessError,
        match=r"^search\.confirm\.teacher anew: the teacher of one of the final's splits diverged "
        r"\(the loss became nan in epoch 1\); lower teacher\.training\.learning_rate, or set "
        r"search\.confirm\.teacher to given$",
    ):
        _anew(inputs, tmp_path).confirm(Schedule.constant(ladder.policy("all-0"), 4), 0, 2)


_SEARCHING = """
import pickle, sys
from pathlib import Path
from rolekd.search.runner import run
spec, inputs, state, workers, answer = pickle.loads(Path(sys.argv[1]).read_bytes())
answer.write_bytes(pickle.dumps(run(spec, inputs, state, workers=workers)))
"""


@pytest.mark.slow
@pytest.mark.parametrize("role", ["student", "teacher"])
def test_finals_that_train_two_networks_are_the_same_for_any_workers_and_kills(
    inputs, digest, tmp_path, role
):
    """A student's with new teachers, which workers share, and a teacher's, judged by students."""
    params = parse(
        {
            "search": {
                "algorithm": "ladder", "ladder": ["all-2", "all-4"],
                "teacher_by": "student" if role == "teacher" else "teacher",
                "confirm": {"rungs": [[4, 2], [2, 3]], "teacher": "anew"},
            },
            "teacher": {"model": {"width": 6}, "training": {"epochs": 3}},
            "student": {"model": {"width": 4}, "training": {"epochs": 3}},
        },
        "the test",
    )  # fmt: skip
    spec = make_spec(params, role, inputs)

    def begin(name, workers):
        told, answer = tmp_path / f"{name}.pickle", tmp_path / f"{name}.answer"
        told.write_bytes(pickle.dumps((spec, inputs, tmp_path / name, workers, answer)))
        return subprocess.Popen([sys.executable, "-c", _SEARCHING, str(told)]), answer

    def found(name, workers):
        process, answer = begin(name, workers)
        assert process.wait(300) == 0
        return digest(pickle.loads(answer.read_bytes()))

    wanted = found("one", 1)
    assert found("three", 3) == wanted
    chance, url = random.Random(role), f"sqlite:///{tmp_path}/killed/study.db"
    for kill in range(4):
        process, answer = begin("killed", 2)
        while process.poll() is None and _tasks_done(url, spec) < 2 * kill:
            time.sleep(0.05)
        time.sleep(chance.uniform(0.0, 0.5))
        process.kill()
        process.wait()
        assert not answer.exists()
    assert found("killed", 2) == wanted


def _tasks_done(url, spec):
    try:
        return JobStudy.open(url, spec.name).read().tasks_done
    except (InputError, RunError):  # not there yet
        return -1


def test_that_teacher_sees_no_image_that_the_final_measures_on(inputs, tmp_path, monkeypatch):
    seen, batches = [], member_module.Batches

    def spied(dataset, split, *more):
        seen.append(dataset.splits[split])
        return batches(dataset, split, *more)

    monkeypatch.setattr(member_module, "Batches", spied)
    _anew(inputs, tmp_path).confirm(Schedule.constant(ladder.policy("all-0"), 4), 0, 1)
    seed = seeds.derive(0, "confirm student", 0)
    split = splits.redrawn(datasets.load(inputs / DATA), 0.3, seed).splits["search_train"]
    teacher, student = seen
    assert np.array_equal(teacher, split)
    assert np.array_equal(student, split)


def test_validation_images_of_the_users_own_are_none_that_a_teacher_has_learned(inputs, tmp_path):
    own = tmp_path / "own"
    shutil.copytree(inputs, own)
    about = json.loads((own / DATA / "dataset.json").read_text())
    (own / DATA / "dataset.json").write_text(json.dumps({**about, "own_validation": True}))
    keep = tmp_path / "keep"
    keep.mkdir()
    _anew(own, keep).confirm(Schedule.constant(ladder.policy("all-0"), 4), 0, 1)
    assert not list(keep.iterdir())


def test_a_split_is_drawn_anew_from_the_same_images(digits):
    part = splits.redrawn(digits, 0.25, 7)
    parts = [part.splits[name] for name in ("search_train", "search_val")]
    before = [digits.splits[name] for name in ("search_train", "search_val")]
    assert np.array_equal(np.sort(np.concatenate(parts)), np.sort(np.concatenate(before)))
    assert len(parts[1]) == pytest.approx(0.25 * len(np.concatenate(parts)), abs=10)
    assert np.array_equal(parts[0], splits.redrawn(digits, 0.25, 7).splits["search_train"])
    assert not np.array_equal(parts[0], splits.redrawn(digits, 0.25, 8).splits["search_train"])
    assert np.array_equal(part.splits["test"], digits.splits["test"])


def test_a_split_that_leaves_a_class_out_is_refused(digits):
    few = replace(digits, splits={**digits.splits, "search_train": np.arange(20)})
    few.splits["search_val"] = np.arange(20, 24)
    with pytest.raises(InputError, match="leaves no image of class"):
        splits.redrawn(few, 0.1, 0)


def test_a_teachers_schedule_may_be_judged_by_its_student(inputs, digits):
    def confirm(teacher_by):
        search = {"epochs": 4, "interval_epochs": 1, "teacher_by": teacher_by}
        params = parse(
            {
                "search": search,
                "teacher": {"model": {"width": 4}, "training": {"ema_decay": 0.9}},
                "student": {"model": {"width": 4}, "training": {"epochs": 2}},
            },
            "the test",
        )
        member = Member(make_spec(params, "teacher", inputs), inputs, inputs)
        return member.confirm(Schedule.constant(ladder.policy("all-2"), 4), 0, 3)

    by_teacher, by_student = confirm("teacher"), confirm("student")
    assert by_student.extras["teacher_accuracy"] == by_teacher.accuracy
    assert by_student.accuracy != by_teacher.accuracy
    assert by_student.images_seen == by_teacher.images_seen * 5 // 3


def test_a_fraction_that_leaves_a_class_out_is_told_at_the_start(inputs):
    params = parse({"search": {"confirm": {"validation_fraction": 0.001}}}, "the test")
    with pytest.raises(InputError, match=r"validation_fraction 0\.001: leaves no image of class"):
        Member(make_spec(params, "teacher", inputs), inputs, inputs)
