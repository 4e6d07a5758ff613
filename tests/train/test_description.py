"""What a weights file says of its network: a key less, another, or of another type is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from safetensors.torch import save_file

from rolekd.data import dataset as datasets
from rolekd.errors import InputError
from rolekd.params import ModelParams, StudentParams, TeacherParams
from rolekd.train import description, roles, state

SPLITS = ("search_train", "search_val", "train", "test")
# what a student may say beside what describes its network
NOTES = ("copied_from_teacher", "arm", "seed")


@pytest.fixture(scope="module")
def data():
    images = np.zeros((8, 8, 8, 1), np.uint8)
    splits = dict.fromkeys(SPLITS, np.arange(8))
    return datasets.assemble("nothing", images, np.arange(8) % 2, ("a", "b"), splits)


@pytest.fixture(scope="module")
def networks(data):
    """Role -> (network, description), as the stages write them."""
    teacher = roles.teacher(TeacherParams(model=ModelParams(width=2)), data, 0)
    params = StudentParams(model=ModelParams(width=2), overrides={"*shortcut.0": 4})
    student, about = roles.student(params, data, 1, teacher[0])
    return {"teacher": teacher, "student": (student, {**about, "arm": "kd", "seed": 0})}


# what no key of a description holds
FOREIGN = st.one_of(
    st.none(), st.booleans(), st.integers(max_value=0), st.floats(), st.text("xyz", max_size=3),
    st.lists(st.integers(-9, 0)), st.dictionaries(st.text("xyz"), st.integers(9)).filter(bool),
)  # fmt: skip


def _refused(about):
    with pytest.raises(InputError) as caught:
        description.check(about, Path("weights"))
    message = str(caught.value)
    assert message.startswith("weights: does not describe its network (")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("role", ["teacher", "student"])
@given(chosen=st.data())
def test_a_key_that_is_lost_or_misspelt_is_named(networks, role, chosen):
    about = networks[role][1]
    key = chosen.draw(st.sampled_from([key for key in about if key not in NOTES]))
    changed = {name: value for name, value in about.items() if name != key}
    assert key in _refused(changed)
    other = chosen.draw(st.text("abcdefgh_", min_size=1).filter(lambda name: name not in about))
    _refused({**changed, other: about[key]})
    assert other in _refused({**about, other: 1})


@pytest.mark.parametrize("role", ["teacher", "student"])
@given(chosen=st.data(), value=FOREIGN)
def test_a_value_of_another_kind_is_refused(networks, role, chosen, value):
    about = networks[role][1]
    key = chosen.draw(st.sampled_from([key for key in about if key not in NOTES]))
    # a name, of a network that does not exist, is for the registry to refuse; a digest is any text
    assume(not (key == "model" and isinstance(value, str) and value))
    assume(not (key == "data_digest" and isinstance(value, str)))
    _refused({**about, key: value})


def test_a_student_that_lost_its_quantizer_is_not_loaded_as_another_network(
    tmp_path, data, networks
):
    student, about = networks["student"]
    lost = {key: value for key, value in about.items() if key != "quantizer"}
    state.save_weights(tmp_path / "w", student, lost)
    with pytest.raises(InputError, match=r"/w: .* \(quantizer: Field required\); run the stage"):
        roles.load(tmp_path / "w", data)
    _refused({**about, "role": "teacher"})
    _refused({**networks["teacher"][1], "role": "student"})


@pytest.mark.parametrize("text", [None, "", "[]", "null", "{", '"x"', "[" * 5000, "1e999", "NaN"])
def test_what_is_not_a_description_is_refused(tmp_path, data, networks, text):
    network = networks["teacher"][0]
    metadata = {} if text is None else {"about": text}
    save_file(dict(network.state_dict()), tmp_path / "w", metadata=metadata)
    with pytest.raises(InputError, match="does not describe its network"):
        roles.load(tmp_path / "w", data)


def test_what_the_stages_write_is_read_again(tmp_path, data, networks):
    for network, about in networks.values():
        state.save_weights(tmp_path / "w", network, about)
        assert roles.load(tmp_path / "w", data)[1] == json.loads(json.dumps(about))


def test_a_width_that_is_null_is_of_networks_that_have_none(networks):
    about = networks["student"][1]
    _refused({**about, "width": None})
    description.check({**about, "model": "torchvision:resnet18", "width": None}, Path("weights"))


@pytest.mark.parametrize("value", [1, {}, {"mean": [0.5]}, {"mean": [0.5], "std": [0.0]}])
def test_a_normalization_that_is_none_is_refused(networks, value):
    assert "normalization" in _refused({**networks["teacher"][1], "normalization": value})
