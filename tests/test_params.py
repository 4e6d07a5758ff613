from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
import yaml

from rolekd import params
from rolekd.augment import schedule
from rolekd.errors import InputError

ROOT = Path(__file__).parents[1]


def test_the_defaults_of_the_schema_are_those_of_params_yaml():
    loaded = params.load(ROOT / "params.yaml")
    # a few images leave a search of digits something to find; other data are trained on whole
    assert loaded.data.training_images == 300
    whole = loaded.data.model_copy(update={"training_images": None})
    assert loaded.model_copy(update={"data": whole}) == params.Params()


@pytest.mark.parametrize(
    ("content", "key", "remedy"),
    [
        ({"sed": 1}, "sed", "did you mean seed?"),
        ({"student": {"model": {"widht": 4}}}, "student.model.widht", "did you mean width?"),
        ({"student": {"bits": 0}}, "student.bits", "greater than or equal to 1"),
        ({"student": {"bits": 33}}, "student.bits", "less than or equal to 8"),
        ({"search": {"population": 1}}, "search.population", "greater than or equal to 2"),
        ({"search": {"epochs": 2, "interval_epochs": 3}}, "search", "longer than epochs 2"),
        (
            {"search": {"restarts": 1, "algorithm": "tpe"}},
            "search",
            "restarts: tpe has none; set it to 0, or take pbt",
        ),
        (
            {"search": {"start": "ladder", "algorithm": "tpe"}},
            "search",
            "start: ladder, but tpe has no members; set it to none, or take pbt",
        ),
        (
            {"search": {"start": "ladder", "ladder": []}},
            "search",
            "start: ladder, but ladder is empty; name rungs, or set it to none",
        ),
        ({"teacher": {"training": {"learning_rate": "fast"}}}, "learning_rate", "valid number"),
        ({"distill": {"temperature": 0}}, "distill.temperature", "greater than or equal to 0.01"),
        ({"distill": {"loss": None}}, "distill.loss", "as {soft: 1.0, rkd: 0.1}"),
        ({"distill": {"loss": 0.1}}, "distill.loss", "give the name of a loss, or weights"),
        ({"distill": {"loss": {"rkd": -1}}}, "distill.loss", "weight of rkd: input should be gre"),
        ({"distill": {"loss": {"rkd": "a"}}}, "distill.loss", "weight of rkd: input should be a"),
        ({"distill": {"loss": {"rkd": float("inf")}}}, "distill.loss", "weight of rkd: input sh"),
        ({"distill": {"loss": {1: 1.0}}}, "distill.loss", "weight of 1: input should be a valid"),
        ([1, 2], "the file", "dictionary"),
        ({1: 2}, "1", "keys should be strings"),
        ({"seed": 10**400}, "seed", "(is an integer of 1329 bits)"),
        ({"student": {"bits": list(range(50))}}, "student.bits", "valid integer (is a list)"),
        ({"machine": {"device": {"a": 1}}}, "machine.device", "(is a section)"),
        ({"machine": [1, {"a": 2}]}, "machine", "valid dictionary (is a list)"),
        ({"student": {"overrides": {"x": {"y": 1}}}}, "student.overrides.x", "integer"),
        ({"data": {"test_fraction": 1e-9}}, "data.test_fraction", "equal to 0.001"),
        ({"data": {"search_validation_fraction": 1e-9}}, "search_validation_fraction", "0.001"),
        ({"threads": 10**9}, "threads", "less than or equal to 1024"),
        ({"distill": {"temperature": 1e300}}, "distill.temperature", "less than or equal to"),
        ({"distill": {"temperature": 1e-300}}, "distill.temperature", "equal to 0.01"),
        # strict types: YAML and JSON have them
        ({"student": {"bits": True}}, "student.bits", "valid integer (is True)"),
        ({"student": {"bits": "2"}}, "student.bits", "valid integer (is '2')"),
        ({"student": {"bits": 2.0}}, "student.bits", "valid integer (is 2.0)"),
        ({"student": {"overrides": {"x": True}}}, "student.overrides.x", "valid integer"),
        ({"distill": {"weight": True}}, "distill.weight", "valid number (is True)"),
        ({"distill": {"weight": "1"}}, "distill.weight", "valid number (is '1')"),
        ({"data": {"channels": True}}, "data.channels", "1 or 3 (is True)"),
        ({"student": {"ends": 8.0}}, "student.ends", "'float' or 8 (is 8.0)"),
        ({"student": {"ends": 4}}, "student.ends", "'float' or 8 (is 4)"),
        ({"data": {"path": 3}}, "data.path", "path"),
        ({"augment": {"horizontal_flip": "yes"}}, "horizontal_flip", "boolean (is 'yes')"),
        ({"augment": {"horizontal_flip": 1}}, "horizontal_flip", "boolean (is 1)"),
        ({"teacher": {"training": {"decay_at": ["0.5"]}}}, "decay_at.0", "valid number"),
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


def test_many_and_long_faults_are_cut(tmp_path):
    faults = {f"{number}{'x' * 1000}": "y" * 10**4 for number in range(1000)}
    with pytest.raises(InputError, match=r"and 991 more$") as caught:
        params.parse(faults | {"seed": "z" * 10**6}, "p")
    assert len(str(caught.value)) < 2000


def test_a_set_has_no_order_and_is_not_a_list():
    with pytest.raises(InputError, match="decay_at: input should be a valid tuple"):
        params.parse({"teacher": {"training": {"decay_at": {0.5, 0.75}}}}, "p")


def _numbers(schema: dict, place: str = "") -> Iterator[tuple[str, dict]]:
    """Yield (place, schema) of every number in a JSON schema."""
    if schema.get("type") in ("integer", "number") and "enum" not in schema:
        yield place, schema
    for key in ("$defs", "properties"):
        for name, part in schema.get(key, {}).items():
            yield from _numbers(part, f"{place}.{name}")
    for key in ("anyOf", "allOf", "oneOf", "prefixItems"):
        for part in schema.get(key, []):
            yield from _numbers(part, place)
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from _numbers(schema[key], f"{place}.{key}")


def test_every_number_has_both_bounds():
    found = list(_numbers(params.Params.model_json_schema()))
    assert len(found) > 40
    for place, schema in found:
        lower = schema.get("minimum", schema.get("exclusiveMinimum"))
        upper = schema.get("maximum", schema.get("exclusiveMaximum"))
        assert lower is not None, place
        assert upper is not None, place
        assert -(2**63) <= lower < upper < 2**63, place


def test_a_schedule_is_as_long_as_a_training():
    bound = params.TrainingParams.model_json_schema()["properties"]["epochs"]["maximum"]
    assert bound == schedule.MAX_EPOCHS


def test_params_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        params.Params().seed = 1  # type: ignore[misc]


@pytest.mark.parametrize("main", get_args(params.TeacherName))
def test_one_teacher_is_just_the_teacher_and_no_two_have_one_name(main):
    names = [params.teacher_name(name, main) for name in get_args(params.TeacherName)]
    assert params.teacher_name(main, main) == "teacher"
    assert len({*names}) == len(names)
