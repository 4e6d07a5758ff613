import numpy as np
import pytest

from rolekd.augment import ladder
from rolekd.augment.policy import Policy
from rolekd.augment.schedule import Schedule
from rolekd.outputs import Outputs
from rolekd.params import Params
from rolekd.report import tables
from rolekd.stages.evaluate import (
    drop_former,
    exported,
    warn_of_collapsed_teacher,
    warn_of_collapses,
)


def test_a_student_that_collapsed_to_one_class_is_warned_of_in_one_line(caplog):
    compare, labels = Params().compare, np.arange(30) % 3
    right = np.stack([np.eye(3)[labels]] * compare.seeds)
    logits = dict.fromkeys(compare.arms, right)
    warn_of_collapses(tables.summarise(logits, labels, ("a", "b", "c"), compare))
    assert not caplog.records
    logits["kd"] = right.copy()
    logits["kd"][1] = np.eye(3)[0]
    warn_of_collapses(tables.summarise(logits, labels, ("a", "b", "c"), compare))
    (record,) = caplog.records
    message = record.getMessage()
    assert "collapsed to one class with seed 1, 1 of " in message
    assert "lower student.training.learning_rate or" in message
    assert "\n" not in message


def test_a_teacher_that_collapsed_is_warned_of_in_one_line(caplog):
    warn_of_collapsed_teacher("plain", np.eye(3))
    assert not caplog.records
    warn_of_collapsed_teacher("plain", np.tile([0.0, 1.0, 0.5], (9, 1)))
    (record,) = caplog.records
    assert record.getMessage().startswith("teacher plain: collapsed to one class")
    assert "lower teacher.training.learning_rate" in record.getMessage()


def test_students_of_an_arm_that_was_removed_are_dropped_and_no_others(tmp_path, capsys):
    outputs, compare = Outputs(tmp_path), Params().compare
    for arm in (*compare.arms, "former"):
        outputs.students(arm).mkdir(parents=True)
        outputs.metrics("distill", arm).write_text("{}")
    drop_former(outputs, compare)
    assert {path.name for path in outputs.stage("distill").iterdir()} == set(compare.arms)
    assert all(outputs.metrics("distill", arm).exists() for arm in compare.arms)
    assert "former: is no longer an arm; removed" in capsys.readouterr().out


NOTHING = Policy.zeros()
# magnitudes that no probability uses
IDLE = Policy([0, 5] * (len(list(NOTHING)) // 2))
STRONG = ladder.policy("all-5")


@pytest.mark.parametrize(
    ("student", "teacher", "expected"),
    [
        (Schedule.constant(NOTHING, 4), Schedule.constant(STRONG, 8), "kd"),
        (Schedule(4, [(0, IDLE), (2, NOTHING)]), Schedule.constant(NOTHING, 8), "kd"),
        (Schedule.constant(STRONG, 4), Schedule.constant(STRONG, 8), "kd-shared"),
        (Schedule.constant(STRONG, 4), Schedule.constant(NOTHING, 8), "kd-rolewise"),
        (Schedule(4, [(0, NOTHING), (2, STRONG)]), Schedule.constant(STRONG, 8), "kd-rolewise"),
    ],
)
def test_the_confirmed_arm_has_the_augmentation_that_the_final_took(
    tmp_path, student, teacher, expected
):
    compare, outputs = Params().compare, Outputs(tmp_path)
    for role, schedule in (("student", student), ("teacher", teacher)):
        outputs.schedule(role).parent.mkdir(parents=True)
        schedule.save(outputs.schedule(role))
    assert compare.export == "confirmed"
    assert exported(compare, outputs) == expected
    # of arms that have none, the student's own is the same student
    few = {name: compare.arms[name] for name in ("plain", "kd-rolewise")}
    assert exported(compare.model_copy(update={"arms": few}), outputs) == "kd-rolewise"


def test_an_arm_that_is_named_is_exported_whatever_was_confirmed(tmp_path):
    compare = Params().compare.model_copy(update={"export": "plain"})
    assert exported(compare, Outputs(tmp_path)) == "plain"
