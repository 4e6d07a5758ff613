import json
import re
from pathlib import Path

import pytest

from rolekd import files, params
from rolekd.errors import InputError
from rolekd.models import build
from rolekd.outputs import Outputs, Wanted
from rolekd.params import ArmParams, CompareParams, Params, TeacherParams
from rolekd.stages import plan

ROOT = Path(__file__).parents[2]
SEARCHED = ("train_teacher", "searched")
ALL = {("search_teacher", None), ("search_student", None), SEARCHED}


def _compare(**arms):
    rows = {
        name: ArmParams(
            distilled=True, augmentation=augmentation, teacher=teacher, starts_from="teacher"
        )
        for name, (augmentation, teacher) in arms.items()
    }
    first = next(iter(rows))
    return CompareParams(baseline=first, export=first, arms=rows)


def _wanted(compare, **sections):
    return plan.wanted_stages(Params().model_copy(update={"compare": compare, **sections}))


def test_the_default_arms_ask_for_both_searches_and_no_plain_teacher():
    assert _wanted(Params().compare) == ALL


def test_the_default_arms_without_a_teacher_take_none_of_its_weights_either():
    arms = Params().compare.arms
    alone = {name: arm for name, arm in arms.items() if not arm.distilled}
    assert alone.keys() == {"plain", "plain-randaugment"}
    assert {arm.starts_from for arm in alone.values()} == {"scratch"}


@pytest.mark.parametrize(
    ("arm", "expected"),
    [
        (("none", "plain"), {("train_teacher", "plain")}),
        (("randaugment", "randaugment"), {("train_teacher", "randaugment")}),
        (("adaptive", "adaptive"), {("train_teacher", "adaptive")}),
        (("randaugment", "searched"), {SEARCHED, ("search_teacher", None)}),
        (("teacher-schedule", "plain"), {("train_teacher", "plain"), ("search_teacher", None)}),
        # the student's schedule is searched under the searched teacher
        (("student-schedule", "plain"), {("train_teacher", "plain"), *ALL}),
    ],
)
def test_what_no_arm_asks_for_is_not_wanted(arm, expected):
    assert _wanted(_compare(one=arm)) == expected


def test_the_files_do_not_change_with_an_arm_that_asks_for_the_same(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written = []
    for arms in ({"a": ("none", "plain")}, {"a": ("none", "plain"), "b": ("none", "plain")}):
        params = Params().model_copy(update={"compare": _compare(**arms)})
        monkeypatch.setattr(plan.params, "load", lambda params=params: params)
        plan.plan(Outputs())
        written.append({p.name: p.read_bytes() for p in (tmp_path / "outputs/plan").iterdir()})
    assert written[0] == written[1]
    assert Wanted.load(Outputs().wanted("train_teacher", "plain")).wanted
    assert not Wanted.load(Outputs().wanted("search_teacher")).wanted


def test_an_augmentation_that_does_not_exist_is_named_with_its_arm():
    with pytest.raises(InputError, match=r"params.yaml: compare\.arms\.one\.augmentation: 'rnd'"):
        plan.check(_compare(one=("rnd", "plain")))


ROW = {"distilled": True, "augmentation": "none", "teacher": "plain", "starts_from": "teacher"}
# what docs/compare.md calls wrong -> the change of params.yaml
WRONG = {
    "an augmentation that does not exist": {
        "arms": {"heavy": ROW | {"augmentation": "randaugmnt"}}
    },
    "a file that does not exist": {"arms": {"heavy": ROW | {"augmentation": "schedules/own.json"}}},
    "a file outside `schedules/`": {"arms": {"heavy": ROW | {"augmentation": "own.json"}}},
    "a teacher that does not exist": {"arms": {"heavy": ROW | {"teacher": "best"}}},
    "a baseline or export that is not an arm": {"export": "kd-best"},
    "an export that the search does not train": {"export": "confirmed"},
    "a name that cannot be a folder's": {"arms": {"a/b": ROW}},
    "a name that is taken": {"arms": {"teacher": ROW}},
    "a name that `compare.export` needs": {"arms": {"confirmed": ROW}},
    "no arms": None,
}


def _messages() -> dict[str, str]:
    text = (ROOT / "docs/compare.md").read_text()
    return dict(re.findall(r"^\| (.+?) \| `(params\.yaml: .+)` \|$", text, re.MULTILINE))


def test_every_message_of_the_docs_is_tried():
    assert _messages().keys() == WRONG.keys()


@pytest.mark.parametrize("wrong", WRONG)
def test_the_docs_hold_what_is_said_of_wrong_arms(wrong):
    changes = WRONG[wrong] or {}
    arms = {} if WRONG[wrong] is None else {"plain": ROW, "kd": ROW, **changes.get("arms", {})}
    content = {"compare": {"baseline": "kd", "export": "kd", **changes, "arms": arms}}
    with pytest.raises(InputError) as raised:
        plan.check(params.parse(content, "params.yaml").compare)
    assert str(raised.value) == _messages()[wrong]


def test_a_teachers_search_depends_on_the_students_that_judge_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def judges(**search):
        (tmp_path / "params.yaml").write_text(
            json.dumps({"search": search, "student": {"bits": 3}})
        )
        outputs = Outputs(tmp_path / "outputs")
        plan.plan(outputs)
        return [Wanted.load(outputs.wanted(f"search_{r}")).judges for r in ("teacher", "student")]

    assert judges() == [None, None]
    found, other = judges(teacher_by="student")
    assert found["student"]["bits"] == 3
    assert set(found) == {"student", "distill", "code"}
    assert other is None


TAKEN = TeacherParams(weights="weights/x.safetensors", train=False)


def test_a_teacher_that_is_taken_is_not_searched():
    arms = _compare(one=("student-schedule", "searched"), two=("none", "plain"))
    found = _wanted(arms, teacher=TAKEN)
    assert found == {("search_student", None), SEARCHED, ("train_teacher", "plain")}


def test_its_schedule_is_none_to_ask_for():
    params = Params().model_copy(update={"teacher": TAKEN})
    with pytest.raises(InputError, match=r"arms\.kd-shared\.augmentation: teacher-schedule, but"):
        plan.check_taken(params)
    plan.check_taken(Params())


def test_weights_are_left_for_the_stages_that_follow(tmp_path, monkeypatch):
    from rolekd.train import state

    monkeypatch.chdir(tmp_path)
    network = build("resnet8", classes=3, channels=1, image_size=(8, 8), width=16, seed=0)
    Path("weights").mkdir()
    state.write_weights(Path("weights/x.safetensors"), network.state_dict(), {"model": "resnet8"})
    left = Outputs().pretrained

    def planned(**content):
        Path("params.yaml").write_text(json.dumps(content))
        plan.plan(Outputs())

    teacher, judges = {"weights": "weights/x.safetensors"}, {"teacher_by": "student"}
    arms = {"baseline": "kd", "export": "kd", "arms": {"kd": ROW}}
    student = {"model": {"width": 16}, **teacher}
    with pytest.raises(InputError, match=r"student\.weights: every student begins with them, but"):
        planned(student=student)
    compare = {**arms, "arms": {"kd": ROW | {"teacher": "searched"}}}
    planned(teacher=teacher, student=student, search=judges, compare=compare)
    tensors, about = state.read_weights(left("teacher"))
    assert about == {"model": "resnet8"}
    assert len(tensors) == len(network.state_dict())
    found = Wanted.load(Outputs().wanted("search_teacher")).judges
    assert found["weights"] == files.sha256(left("student"))
    planned()
    for role in ("teacher", "student"):
        assert state.read_weights(left(role)) == ({}, None)
    with pytest.raises(InputError, match=r"teacher: train: false, but weights names none"):
        planned(teacher={"train": False})
    with pytest.raises(
        InputError, match=r"teacher\.weights: weights/x.safetensors: weights of anot"
    ):
        planned(teacher={"model": {"width": 8}, **teacher})
