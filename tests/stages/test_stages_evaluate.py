from rolekd.outputs import Outputs
from rolekd.params import Params
from rolekd.stages.evaluate import drop_former


def test_students_of_an_arm_that_was_removed_are_dropped_and_no_others(tmp_path, capsys):
    outputs, compare = Outputs(tmp_path), Params().compare
    for arm in (*compare.arms, "former"):
        outputs.students(arm).mkdir(parents=True)
        outputs.metrics("distill", arm).write_text("{}")
    drop_former(outputs, compare)
    assert {path.name for path in outputs.stage("distill").iterdir()} == set(compare.arms)
    assert all(outputs.metrics("distill", arm).exists() for arm in compare.arms)
    assert "former: is no longer an arm; removed" in capsys.readouterr().out
