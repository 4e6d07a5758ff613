import pytest

from rolekd.augment import ladder
from rolekd.augment.policy import Policy
from rolekd.augment.schedule import Schedule
from rolekd.outputs import Outputs
from rolekd.params import Params
from rolekd.stages.evaluate import drop_former, exported


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
