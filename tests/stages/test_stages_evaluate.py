import numpy as np

from rolekd.outputs import Outputs
from rolekd.params import Params
from rolekd.report import tables
from rolekd.stages.evaluate import drop_former, warn_of_collapsed_teacher, warn_of_collapses


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
