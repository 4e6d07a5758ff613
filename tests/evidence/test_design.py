"""A study file: its cells, and every fault in one line."""

import copy

import pytest

from rolekd import yamlfiles
from rolekd.errors import InputError
from rolekd.evidence import design
from rolekd.evidence.design import Cell

STUDY = {
    "name": "small",
    "question": "Does it help?",
    "seeds": 2,
    "searches": 2,
    "data": {"digits": {}, "others": {"params": {"data.training_images": 200}}},
    "arms": {
        "plain": {"distilled": False, "starts_from": "scratch"},
        "own": {"augmentation": "student-schedule"},
        "teacher": {"role": "teacher"},
    },
    "primary": {"arm": "own", "against": "plain"},
}


def _load(tmp_path, **changes):
    content = copy.deepcopy(STUDY) | changes
    file = tmp_path / "study.yaml"
    file.write_text(yamlfiles.dump(content))
    return design.load(file)


def test_cells_are_data_sets_arms_searches_and_seeds(tmp_path):
    study = _load(tmp_path, only={"others": ["plain", "own"]})
    cells = list(study.cells())
    assert len(cells) == len(set(cells)) == 2 * (1 + 2 + 1) + 2 * (1 + 2)
    assert cells[:4] == [  # seed by seed
        Cell("digits", "plain", None, 0),
        Cell("digits", "own", 0, 0),
        Cell("digits", "own", 1, 0),
        Cell("digits", "teacher", None, 0),
    ]
    assert not any(cell.arm == "teacher" for cell in cells if cell.data == "others")


def test_levels_are_crossed_and_their_parameters_put_together(tmp_path):
    crossed = {
        "capacity": {
            "bits": {"b2": {}, "b4": {"params": {"student.bits": 4}}},
            "width": {"w8": {}, "w4": {"params": {"student.model.width": 4}}},
            "what": {"kd": {"teacher": "none"}},
        }
    }
    study = _load(tmp_path, crossed=crossed, only={"others": ["plain", "own"]})
    names = [name for name in study.arms if name.startswith("capacity/")]
    assert names == [f"capacity/{b}/{w}/kd" for b in ("b2", "b4") for w in ("w8", "w4")]
    arm = study.arms["capacity/b4/w4/kd"]
    assert arm.params == {"student.bits": 4, "student.model.width": 4}
    params = study.params_of("others", arm)
    assert (params.student.bits, params.student.model.width) == (4, 4)
    assert params.data.training_images == 200
    assert study.takes("digits", "capacity/b4/w4/kd")
    assert not study.takes("others", "capacity/b4/w4/kd")


def test_an_arm_has_to_do_with_a_search_or_has_not(tmp_path):
    arms = {
        **STUDY["arms"],
        "kd": {"teacher": "none"},
        "taught": {},
        "shared": {"teacher": "none", "augmentation": "teacher-schedule"},
        "alone": {"distilled": False, "starts_from": "scratch"},
        "searched": {"role": "teacher", "augmentation": "teacher-schedule"},
    }
    found = {name: arm.is_searched for name, arm in _load(tmp_path, arms=arms).arms.items()}
    searched = {"own", "taught", "shared", "searched"}
    assert {name for name, is_searched in found.items() if is_searched} == searched


def _with(arm, name="a"):
    return {"arms": {**STUDY["arms"], name: arm}}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"primary": {"arm": "ownn", "against": "plain"}}, "did you mean own?"),
        ({"only": {"digit": ["own"]}}, "'digit' is not a data set; did you mean digits?"),
        ({"only": {"others": ["plain"]}}, "only.others: leaves out own, which primary compares"),
        ({"comparisons": [{"arm": "own", "against": "kd"}]}, "'kd' is not an arm"),
        ({"table": ["kd"]}, "'kd' is not an arm"),
        ({"seeds": 1}, "seeds: "),
        ({"searchs": 2}, "searchs: unknown key; did you mean searches?"),
        ({"arms": {}}, "arms: none"),
        ({"searches": 1, **_with({"augmentation": "swapped"})}, "make it 2"),
        (_with({"augmentation": "randaug"}), "did you mean randaugment?"),
        (_with({"teacher": "all-11"}), "teacher 'all-11'"),
        (_with({"role": "teacher", "augmentation": "swapped"}), "swapped"),
        (_with({}, "a b"), "not a name"),
        (
            _with({"params": {"student.bit": 3}}),
            "arms.a: data.digits: preset digits: student.bit: unknown key",
        ),
        (_with({"params": {"student.modle.width": 3}}), "student.modle.width: no such key"),
        ({"data": {"digits": {"preset": "digit"}}}, "digit"),
        ({"crossed": {"a": {"b": 3}}}, "crossed.a: give each factor its levels"),
        ({"crossed": {"a": {}}}, "crossed.a: give each factor its levels"),
        ({"crossed": {"a": {"b": {}}}}, "crossed.a: give each factor its levels"),
        ({"crossed": {"a": {"b": {"c": 3}}}}, "crossed.a: give each factor its levels"),
        ({"crossed": {"a": {"b": {"c": {"params": [1]}}}}}, "crossed.a: give each factor"),
        ({"crossed": {"a": {"b": {"c/d": {}}}}}, "crossed.a: a / divides levels"),
        ({"only": {"digits": ["plain", "own", "teachr"]}}, "'teachr' is not an arm; did you mean"),
        ({"comparisons": [{"arm": "own", "against": "own"}]}, "is compared with itself"),
        (
            {
                "only": {"digits": ["plain", "own"], "others": ["plain", "own"]},
                "comparisons": [{"arm": "own", "against": "teacher"}],
            },
            "only leaves them no data set in common",
        ),
        (_with({"params": {"data.training_images": 100}}), "does not belong to an arm"),
        (_with({"params": {"seed": 3}}), "does not belong to an arm"),
        ({"data": {"digits": {"params": {"data.source": "digit"}}}}, "did you mean digits?"),
        ({"crossed": {"x": {"y": {"z": {"bits": 3}}}}}, "bits: unknown key"),
    ],
)  # fmt: skip
def test_a_fault_is_one_line_with_the_file(tmp_path, changes, text):
    with pytest.raises(InputError) as caught:
        _load(tmp_path, **changes)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'study.yaml'}: ")
    assert text in message
    assert "\n" not in message
