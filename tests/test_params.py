from pathlib import Path

import pytest
import yaml

from rolekd import params
from rolekd.errors import InputError

ROOT = Path(__file__).parents[1]


def test_the_defaults_of_the_schema_are_those_of_params_yaml():
    assert params.load(ROOT / "params.yaml") == params.Params()


@pytest.mark.parametrize(
    ("content", "key", "remedy"),
    [
        ({"sed": 1}, "sed", "did you mean seed?"),
        ({"student": {"model": {"widht": 4}}}, "student.model.widht", "did you mean width?"),
        ({"student": {"bits": 0}}, "student.bits", "greater than or equal to 1"),
        ({"student": {"bits": 33}}, "student.bits", "less than or equal to 8"),
        ({"search": {"population": 1}}, "search.population", "greater than or equal to 2"),
        ({"search": {"epochs": 2, "interval_epochs": 3}}, "search", "longer than epochs 2"),
        ({"teacher": {"training": {"learning_rate": "fast"}}}, "learning_rate", "valid number"),
        ({"distill": {"temperature": 0}}, "distill.temperature", "greater than 0"),
        ({"distill": {"loss": None}}, "distill.loss", "as {soft: 1.0, rkd: 0.1}"),
        ({"distill": {"loss": 0.1}}, "distill.loss", "give the name of a loss, or weights"),
        ({"distill": {"loss": {"rkd": -1}}}, "distill.loss", "weight of rkd: input should be gre"),
        ({"distill": {"loss": {"rkd": "a"}}}, "distill.loss", "weight of rkd: input should be a"),
        ({"distill": {"loss": {"rkd": float("inf")}}}, "distill.loss", "weight of rkd: input sh"),
        ({"distill": {"loss": {1: 1.0}}}, "distill.loss", "weight of 1: input should be a valid"),
        ([1, 2], "the file", "dictionary"),
    ],
)
def test_a_fault_is_one_line_with_file_key_and_remedy(tmp_path, content, key, remedy):
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(InputError) as caught:
        params.load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert key in message
    assert remedy in message
    assert "\n" not in message


def test_missing_and_damaged_files_are_input_errors(tmp_path):
    with pytest.raises(InputError, match=r"absent\.yaml: cannot be read"):
        params.load(tmp_path / "absent.yaml")
    damaged = tmp_path / "damaged.yaml"
    damaged.write_text("search: [1, 2")
    with pytest.raises(InputError, match="not valid YAML"):
        params.load(damaged)


def test_the_loss_is_a_name_or_weights():
    found = [params.parse({"distill": {"loss": loss}}, "the test").distill.loss for loss in _LOSSES]
    assert found == ["ii", {"at": 10.0}, {"at": 0.1}]


_LOSSES = ["ii", {"at": 10}, {"at": "1e-1"}]  # YAML takes 1e-1 for a word


def test_params_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        params.Params().seed = 1  # type: ignore[misc]
