import os
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from rolekd import presets
from rolekd.cli.preset import preset
from rolekd.distill import catalogue
from rolekd.errors import InputError
from rolekd.models.zoo import build
from rolekd.params import Params, parse
from rolekd.sources import SOURCES
from rolekd.stages.estimate import planned_work

ROOT = Path(__file__).parents[1]
NAMES = {"digits", "fashion-mnist", "cifar10-small", "cifar10-paper", "cifar100-paper"}
NAMES |= {"image-folder", "one-student", "photos-96", "photos-224"}


def _keys(value: object) -> object:
    return {k: _keys(v) for k, v in value.items()} if isinstance(value, dict) else None


def test_the_promised_presets_are_there():
    assert {p.name for p in presets.presets()} == NAMES
    assert all(
        len(p.summary) <= 100 and p.summary.endswith((".", "path.")) for p in presets.presets()
    )


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_preset_is_complete_valid_and_names_what_exists(name):
    content = yaml.safe_load(presets.find(name).text)
    values = parse(content, name)
    expected = _keys(Params().model_dump(mode="json"))
    for section in expected.keys() - {"track"}:  # where runs are recorded is the machine's matter
        if section in ("student", "distill"):
            # activation_bits follows bits; the loss is the preset's own
            assert content[section].keys() | {"activation_bits"} >= expected[section].keys()
        else:
            if section == "search" and content[section]["confirm"] is None:
                expected[section]["confirm"] = None  # the paper has no final
            if section == "compare":  # a preset can leave out arms
                arms = expected[section]["arms"]
                expected[section]["arms"] = {arm: arms[arm] for arm in content[section]["arms"]}
            assert _keys(content[section]) == expected[section], section
    assert values.data.source in SOURCES
    assert set(catalogue.resolve(values.distill.loss)) <= set(catalogue.LOSSES)
    for role in (values.teacher, values.student):
        build(role.model.name, classes=10, channels=3, image_size=(32, 32), width=4, seed=0)


def test_params_yaml_is_the_preset_digits():
    # to the letter, so that another preset replaces it unforced
    # remedy: cp params.yaml rolekd/presets/digits.yaml
    assert (ROOT / "params.yaml").read_text() == presets.find("digits").text


@pytest.mark.parametrize("name", [*sorted(NAMES), "image-folder one-student"])
def test_an_experiment_changes_the_line_that_it_names_and_no_other(tmp_path, name):
    from dvc.utils.hydra import apply_overrides  # what `dvc exp run -S` calls

    path = tmp_path / "params.yaml"
    path.write_text(presets.find(*name.split()).text)
    before = path.read_text().splitlines()
    apply_overrides(path, ["seed=77"])
    after = path.read_text().splitlines()
    assert [pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]] == [
        ("seed: 0", "seed: 77")
    ]


def test_a_preset_is_put_to_use_and_exchanged(tmp_path):
    path = tmp_path / "params.yaml"
    presets.use(["digits"], path)
    presets.use(["cifar10-small"], path)
    assert path.read_text() == presets.find("cifar10-small").text
    assert [p.name for p in tmp_path.iterdir()] == ["params.yaml"]


def test_changed_parameters_are_kept_unless_forced(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(presets.find("digits").text + "# mine\n")
    with pytest.raises(InputError, match="has local changes; back it up"):
        presets.use(["cifar10-small"], path)
    assert path.read_text().endswith("# mine\n")
    presets.use(["cifar10-small"], path, force=True)
    assert path.read_text() == presets.find("cifar10-small").text


def test_one_preset_is_laid_upon_another(tmp_path):
    text = presets.find("photos-96", "one-student").text
    values, photos = parse(yaml.safe_load(text), "both"), presets.find("photos-96").text
    whole = parse(yaml.safe_load(photos), "photos-96")
    assert list(values.compare.arms) == ["kd-randaugment"]
    assert (values.compare.seeds, values.compare.export) == (1, "kd-randaugment")
    assert values.model_copy(update={"compare": whole.compare}) == whole
    assert text.count("\n\n\n") == 0
    assert all(f"\n\n{section}:" in text for section in ("search", "export", "promote"))
    # what two wrote is nobody's work either
    path = tmp_path / "params.yaml"
    presets.use(["photos-96", "one-student"], path)
    assert path.read_text() == text
    presets.use(["digits"], path)
    path.write_text(text.replace("seeds: 1", "seeds: 2"))
    with pytest.raises(InputError, match="has local changes"):
        presets.use(["digits"], path)
    path.write_text(text.replace("photos-96 one-student`", "photos-97 one-student`"))
    with pytest.raises(InputError, match="has local changes"):
        presets.use(["digits"], path)


def test_the_preset_of_the_data_comes_first_in_whichever_order_they_are_named():
    assert presets.find("one-student", "photos-96") == presets.find("photos-96", "one-student")
    assert presets.find("one-student", "digits") == presets.find("digits", "one-student")
    with pytest.raises(
        InputError, match=r"^presets photos-96 and photos-224: each names its data;"
    ):
        presets.find("photos-96", "photos-224")
    with pytest.raises(InputError, match=r"^presets digits and photos-96: each names its data;"):
        presets.find("digits", "one-student", "photos-96")


@pytest.mark.parametrize("name", ["photos-96", "photos-224"])
def test_a_summary_says_the_bits_that_the_preset_itself_names(name):
    overlay = presets._overlays()[name]
    bits = yaml.safe_load(overlay)["student"]["bits"]
    assert f" at {bits} bits" in presets.find(name).summary


def test_a_preset_leaves_out_arms_that_it_names_with_null():
    text = presets.find("cifar10-small").text
    arms = [*yaml.safe_load(presets.find("digits").text)["compare"]["arms"]]
    arms.remove("kd-trivialaugment")
    assert [*yaml.safe_load(text)["compare"]["arms"]] == arms
    assert text.count("\n\n\n") == 0


def test_one_student_is_a_tenth_of_the_whole(digits):
    def images(*names):
        values = parse(yaml.safe_load(presets.find(*names).text), "preset")
        return sum(sum(one.images.values()) for one in planned_work(values, digits))

    for name in ("digits", "image-folder", "photos-96", "photos-224"):
        assert images(name, "one-student") <= images(name) / 10, name


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real.yaml").write_text("")
    (tmp_path / "params.yaml").symlink_to("real.yaml")
    presets.use(["digits"], tmp_path / "params.yaml")
    assert (tmp_path / "params.yaml").is_symlink()
    assert (tmp_path / "real.yaml").read_text() == presets.find("digits").text


def test_the_commands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    listed = CliRunner().invoke(preset, ["list"]).output
    begun = [line for line in listed.splitlines() if not line.startswith(" ")]
    assert [line.split()[0] for line in begun] == sorted(NAMES)
    told = CliRunner().invoke(preset, ["use", "image-folder"]).output
    assert told.startswith("params.yaml is image-folder now; before dvc repro: data/raw/photos is")
    told = CliRunner().invoke(preset, ["use", "cifar10-small"]).output
    assert "-> rolekd download cifar10 --to data/raw/cifar10" in told
    Path("data/raw/photos").mkdir(parents=True)
    told = CliRunner().invoke(preset, ["use", "image-folder"]).output
    assert told == "params.yaml is image-folder now; dvc repro runs it\n"
    assert Path("params.yaml").read_text() == presets.find("image-folder").text
    wrong = CliRunner().invoke(preset, ["use", "cifar11"]).exception
    assert isinstance(wrong, InputError)
    assert "choose one of cifar10-paper" in str(wrong)
    assert sorted(p.name for p in Path().iterdir()) == ["data", "params.yaml"]


@pytest.mark.timeout(20)
def test_what_is_not_a_file_is_never_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    for name, reason in {"pipe.yaml": "is a pipe", ".": "Is a directory"}.items():
        with pytest.raises(InputError, match=f"cannot be replaced .{reason}"):
            presets.use(["digits"], tmp_path / name)
