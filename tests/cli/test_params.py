"""`rolekd params`: values, schema, and what the networks are."""

import json
from pathlib import Path

import data_files
import pytest
import yaml
from click.testing import CliRunner

from rolekd.cli.params import params
from rolekd.data import dataset as datasets
from rolekd.errors import InputError
from rolekd.params import DataParams, load
from rolekd.sources.prepare import prepare

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the default parameters, in which nothing is prepared."""
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    Path("data/raw/digits").mkdir(parents=True)
    return tmp_path


def _change(**sections: object) -> str:
    values = yaml.safe_load(Path("params.yaml").read_text()) | sections
    Path("other.yaml").write_text(yaml.safe_dump(values))
    return "other.yaml"


def _json(*arguments: str) -> dict:
    return json.loads(_run(*arguments, "--json"))


def _run(*arguments: str) -> str:
    return CliRunner().invoke(params, arguments, catch_exceptions=False).output


def test_values_of_the_file_named_either_way(project: Path) -> None:
    assert _json() == load("params.yaml").model_dump(mode="json")
    other = _change(seed=5)
    assert _json(other)["seed"] == _json("--params", other)["seed"] == 5
    assert "StudentParams" in _run("--schema")


def test_taps_of_both_networks_with_the_defaults_marked(project: Path) -> None:
    found = _json("--taps")
    assert list(found) == ["teacher", "student"]
    assert found["student"]["image_size"] == [8, 8]
    taps = {tap["path"]: tap for tap in found["teacher"]["taps"]}
    assert taps["stage2.0.relu2"] == {
        "path": "stage2.0.relu2",
        "shape": [32, 4, 4],
        "default": True,
    }
    assert [path for path in taps if taps[path]["default"]] == [
        f"stage{stage}.0.relu2" for stage in range(1, 5)
    ]
    text = " ".join(_run("--taps", "--role", "student").split())
    assert "student: resnet8, images 8x8x1, stem 3x3 of stride 1, 10 classes" in text
    assert "teacher" not in text


def test_sizes_layer_by_layer(project: Path) -> None:
    found = _json("--size", "--role", "student")["student"]
    assert "taps" not in found
    assert found["total"]["bytes"] == -(-found["total"]["bits"] // 8)
    assert found["layers"][1]["weight_bits"] == 2
    assert (
        sum(layer["bit_operations"] for layer in found["layers"])
        == (found["total"]["bit_operations"])
    )
    text = _run("--size")
    assert "stage4.0.shortcut.0" in text
    assert "all + BatchNorm" in text


def test_the_shape_is_that_of_the_prepared_data_unless_they_are_others(
    project: Path, digits: datasets.Dataset
) -> None:
    padded = datasets.assemble(
        "digits",
        digits.images.repeat(2, axis=1),
        digits.labels,
        digits.classes,
        digits.splits,
    )
    datasets.save(padded, project / "outputs/data")
    assert _json("--taps")["student"]["image_size"] == [16, 8]
    other = _change(data={"source": "cifar10", "path": "data/raw/cifar10"})
    with pytest.raises(InputError, match="no prepared cifar10, and the source cannot say"):
        _run(other, "--taps")


@pytest.mark.parametrize(
    ("student", "message"),
    [
        ({"overrides": {"stage9.*": 4}}, "no such layer; choose one of conv1"),
        (
            {"model": {"name": "torchvision:squeezenet1_1"}},
            r"student\.model torchvision:squeezenet1_1: layer cat \(cat\): has no integer form",
        ),
    ],
)
def test_students_that_could_not_be_deployed_are_told_before_any_work(
    project: Path, student: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        _run(_change(student=student))
    _run(_change(student={"model": {"name": "torchvision:mobilenet_v3_small"}, "quantizer": "lsq"}))


def _folder(side: int, **sections: object) -> str:
    data = {"source": "image-folder", "path": "data/raw/photos", "image_size": side, "channels": 3}
    return _change(data=data, **sections)


def _network(name: str, **settings: object) -> dict[str, object]:
    return {"model": {"name": name, **settings}}


@pytest.mark.parametrize(
    ("role", "network", "message"),
    [
        ("student", "mobilenet_v3_small", "unknown network; did you mean torchvision:mobilenet_v3"),
        ("student", "mobilenetv3_small", "unknown network; did you mean torchvision:mobilenet_v3_"),
        ("student", "own", "unknown network; rolekd models lists them"),
        ("teacher", "resnet34", r"unknown network; did you mean torchvision:resnet34\?$"),
        ("student", "resnet20", r"unknown network; did you mean resnet8, resnet18\?$"),
        ("teacher", "torchvision:resnet35", "unknown to torchvision; did you mean torchvision:res"),
        ("teacher", "torchvision:vit_b_16", r"does not take images of 64x64 \(Wrong image height"),
        ("teacher", "torchvision:inception_v3", "does not take images of 64x64 "),
        ("teacher", "torchvision:googlenet", "gives GoogLeNetOutputs in place of logits of two im"),
    ],
)
def test_networks_that_could_not_run_are_told_before_any_work(
    project: Path, role: str, network: str, message: str, recwarn: pytest.WarningsRecorder
) -> None:
    with pytest.raises(InputError, match=rf"^{role}\.model {network}: {message}") as raised:
        _run(_folder(64, **{role: _network(network)}))
    assert "\n" not in str(raised.value)
    assert not recwarn.list  # torchvision's, which would be printed before the line


def test_a_width_of_a_network_that_has_none_is_refused(project: Path) -> None:
    with pytest.raises(InputError, match=r"student\.model\.width 8: torchvision:\w+ has none; set"):
        _run(_change(student=_network("torchvision:mobilenet_v3_small", width=8)))
    values = _json(_change(student=_network("resnet8")), "--size", "--role", "student")
    named = _json(_change(student=_network("resnet8", width=16)), "--size", "--role", "student")
    assert values == named


@pytest.mark.parametrize(
    ("side", "change", "message"),
    [
        (64, {"augment": {"cutout": 200}}, "augment.cutout: a square of 200 pixels is larger than"),
        (64, {"augment": {"crop_padding": 64}}, "augment.crop_padding: 64 pixels around images of"),
        (
            64,
            {"teacher": {"training": {"batch_size": 1}}},
            "teacher.training.batch_size: .*equal to",
        ),
        (257, {}, r"data\.image_size: input should be less than or equal to 256 \(is 257\)"),
    ],
)
def test_numbers_that_could_not_run_are_told_before_any_work(
    project: Path, side: int, change: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        _run(_folder(side, **change))


@pytest.mark.parametrize("role", ["teacher", "student"])
def test_batches_larger_than_the_images_are_told_before_any_work(project: Path, role: str) -> None:
    large, key = {role: {"training": {"batch_size": 400}}}, rf"^{role}\.training\.batch_size"
    with pytest.raises(InputError, match=f"{key}: 400 is more than the 299 images to train on"):
        _run(_change(**large))
    changed = _folder(16, **large)
    _run(changed)  # whose photos are not there yet
    data_files.photos(Path("data/raw/photos"), count=40)
    with pytest.raises(InputError, match=f"{key}: 400 is more than the 64 images to train on"):
        _run(changed)


@pytest.mark.parametrize(("validation", "images"), [("search", 20), ("test", 24)])
def test_images_are_counted_as_prepare_splits_them(
    project: Path, validation: str, images: int
) -> None:
    root = data_files.divided(Path("data/raw/photos"), ("train", "val"))
    data = {"source": "image-folder", "path": str(root), "image_size": 16, "channels": 3}
    data |= {"validation": validation}
    prepared = prepare(DataParams.model_validate(data), 0)
    assert prepared.sizes["train"] == images
    for size in (images, images + 1):
        training = {"training": {"batch_size": size}}
        other = _change(data=data, teacher=training, student=training)
        if size == images:
            _run(other)
        else:
            with pytest.raises(InputError, match=f"{size} is more than the {images} images to tr"):
                _run(other)


def test_a_share_that_leaves_a_split_empty_is_told_before_any_work(project: Path) -> None:
    root = data_files.photos(Path("data/raw/photos"))
    data = {"source": "image-folder", "path": str(root), "image_size": 16, "test_fraction": 0.01}
    with pytest.raises(InputError, match=r"^data\.test_fraction: 0\.01 of 24 images leaves none"):
        _run(_change(data=data))


def test_faulty_data_are_for_prepare_to_tell(project: Path) -> None:
    root = data_files.cifar(Path("data/raw"), "cifar10", pickled=False)
    data = {"source": "cifar10", "path": str(root)}
    small = {"training": {"batch_size": 2}}
    _run(_change(data=data, teacher=small, student=small))
    for path in root.rglob("data_batch_*.bin"):
        path.write_bytes(b"\x0b" + path.read_bytes()[1:])  # a label that no class has
    _run(_change(data=data))
    (root / "cifar-10-batches-bin/batches.meta.txt").unlink()
    _run(_change(data=data))


def test_the_password_of_the_store_is_not_printed(project):
    other = _change(track={"uri": "postgresql://ann:hush@host/db"})
    assert "postgresql://***@host/db" in _run(other)
    assert _json(other)["track"]["uri"] == "postgresql://***@host/db"
