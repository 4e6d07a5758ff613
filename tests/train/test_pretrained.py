"""Networks that begin with weights of others, and teachers that are taken as they are."""

import copy
import hashlib
import io
import pickle
import re
import zipfile
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from click.testing import CliRunner
from safetensors.torch import save_file
from torch import nn

from rolekd.cli.weights import weights
from rolekd.data import dataset as datasets
from rolekd.data.batches import Normalize
from rolekd.distill.distillation import Distillation
from rolekd.errors import InputError
from rolekd.models import build
from rolekd.models.folding import folded
from rolekd.models.normalized import NormalizedConv2d
from rolekd.models.weights import adopt, copy_matching, match
from rolekd.outputs import Outputs
from rolekd.params import DistillParams, StudentParams, TeacherParams, parse
from rolekd.train import pretrained, roles, state
from rolekd.train.evaluate import predict

SMALL = "torchvision:squeezenet1_1"  # torchvision's smallest
THEIRS = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


@pytest.fixture(scope="module")
def photos():
    """Colour images of 96 pixels."""
    stream = np.random.default_rng(0)
    images = stream.integers(0, 256, (24, 96, 96, 3), dtype=np.uint8)
    splits = {name: np.arange(12) for name in ("search_train", "search_val", "train")}
    splits["test"] = np.arange(12, 24)
    return datasets.assemble("photos", images, np.arange(24) % 3, ("a", "b", "c"), splits)


@pytest.fixture
def prepared(photos, tmp_path, monkeypatch):
    """The same in a project, as current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return replace(photos, folder=Outputs().data)


def _network(classes=1000, side=224, channels=3, seed=7, name=SMALL):
    network = build(
        name, classes=classes, channels=channels, image_size=(side, side), width=1, seed=seed
    )
    with torch.no_grad():  # as if it had been trained
        for value in network.state_dict().values():
            if value.is_floating_point():
                value += 0.01 * torch.rand_like(value)
    return network


def _cache(network, name=SMALL):
    """Put a network's weights where torch keeps torchvision's, under the name of their digest."""
    from torchvision import models

    kind = models.get_model_weights(name.removeprefix("torchvision:"))
    made = pretrained.cached("https://x/new.pth")
    made.parent.mkdir(parents=True)
    torch.save(network.state_dict(), made)
    digest = hashlib.sha256(made.read_bytes()).hexdigest()[:8]
    url = f"https://x/{name.partition(':')[2]}-{digest}.pth"
    made.rename(pretrained.cached(url))
    object.__setattr__(kind.DEFAULT.value, "url", url)
    return url


@pytest.fixture
def _published():
    """Put the address of torchvision's weights back."""
    from torchvision import models

    weights = models.get_model_weights(SMALL.partition(":")[2]).DEFAULT.value
    before = weights.url
    yield
    object.__setattr__(weights, "url", before)


def _params(role="teacher", **settings):
    found = {"model": {"name": SMALL}, **settings}
    return parse({"data": {"image_size": 96}, role: found}, "the test")


@pytest.mark.usefixtures("_published")
def test_torchvisions_weights_come_from_torchs_cache(prepared):
    source = _network()
    _cache(source)
    params = _params(weights="torchvision:IMAGENET1K_V1")
    pretrained.check_and_write(params, "teacher", Outputs().pretrained("teacher"))
    network, about = roles.teacher(params.teacher, prepared, seed=0)
    ours, theirs = network.state_dict(), source.state_dict()
    head = {"classifier.1.weight", "classifier.1.bias"}
    stem = {"features.0.weight", "features.0.bias"}
    assert all(torch.equal(ours[n], theirs[n]) for n in ours if n not in head | stem)
    assert ours["classifier.1.weight"].shape[0] == 3
    scale = torch.tensor(prepared.std) / torch.tensor(THEIRS["std"])
    torch.testing.assert_close(
        ours["features.0.weight"], theirs["features.0.weight"] * scale.view(1, -1, 1, 1)
    )
    assert about["normalization"]["mean"] == list(prepared.mean)
    told = roles.told_of_weights(params.teacher, prepared, "teacher")
    assert told.startswith("teacher.weights: torchvision:IMAGENET1K_V1: 50 of 52 tensors; new: ")
    assert "classifier.1.weight (1000x512x1x1 there, 3x512x1x1 here)" in told


@pytest.mark.usefixtures("_published")
def test_what_is_not_as_its_name_says_is_refused(prepared):
    path = pretrained.cached(_cache(_network()))
    params = _params(weights="torchvision:IMAGENET1K_V1")
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match=r"teacher\.weights: .*SHA-256 begins with .*download it"):
        pretrained.check_and_write(params, "teacher")
    path.unlink()
    with pytest.raises(InputError, match=r"is not there; put https://x/.* into this folder"):
        pretrained.check_and_write(params, "teacher")
    with pytest.raises(
        InputError, match="does not have these weights; choose one of IMAGENET1K_V1"
    ):
        pretrained.check_and_write(_params(weights="torchvision:BEST"), "teacher")
    ours = _params(weights="torchvision:IMAGENET1K_V1", model={"name": "resnet8"})
    with pytest.raises(InputError, match="resnet8 is not one of torchvision's networks"):
        pretrained.check_and_write(ours, "teacher")


def test_a_state_dict_is_imported_without_running_it(tmp_path):
    network = _network()
    torch.save({"epoch": 3, "state_dict": network.state_dict()}, tmp_path / "theirs.pth")
    target = tmp_path / "weights/own.safetensors"
    assert pretrained.import_weights(tmp_path / "theirs.pth", target, THEIRS) == (52, "")
    tensors, about = state.read_weights(target)
    assert about == {"normalization": THEIRS}
    assert all(torch.equal(tensors[n], v) for n, v in network.state_dict().items())


@pytest.mark.parametrize("prefix", ["module.", "model.", "net._orig_mod.", "module.1."])
@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
def test_prefixes_that_all_names_have_are_taken_off_and_told(prefix, suffix, tmp_path):
    network = _network()
    wrapped = {prefix + name: value for name, value in network.state_dict().items()}
    source, target = tmp_path / f"best{suffix}", tmp_path / "own.safetensors"
    if suffix == ".ckpt":
        torch.save({"epoch": 3, "state_dict": wrapped}, source)
    else:
        save_file(wrapped, source)
    said = CliRunner().invoke(weights, ["import", str(source), str(target)]).output
    assert said == (
        f"{target}: 52 tensors (names without their prefix {prefix}); name it as teacher.weights "
        "or student.weights\n"
    )
    assert list(state.read_weights(target)[0]) == sorted(network.state_dict())


class _Inside(nn.Module):
    """A network with everything in one module."""

    def __init__(self, network):
        super().__init__()
        self.body = network

    def forward(self, x):
        return self.body(x)


def test_names_with_a_prefix_more_or_less_fit():
    source, network = _network().state_dict(), _network(seed=1)
    inside = {f"body.{name}": value for name, value in source.items()}
    with_loss = {**{f"model.{name}": v for name, v in source.items()}, "loss.weight": torch.ones(9)}
    features = {n.removeprefix("features."): v for n, v in source.items() if "features" in n}
    for target, given, count, unused in (
        (network, source, 52, []),
        (network, inside, 52, []),
        (network, with_loss, 52, ["loss.weight"]),
        (network, features, 50, []),
        (_Inside(network), inside, 52, []),
        (_Inside(network), source, 52, []),
        (_Inside(network), with_loss, 52, ["loss.weight"]),
    ):
        fresh = copy.deepcopy(target)
        found = adopt(fresh, given)
        assert (len(found.copied), found.unused) == (count, unused)
        stem = next(value for name, value in fresh.state_dict().items() if "features.0." in name)
        assert torch.equal(stem, source["features.0.weight"])


class _Runs:
    def __reduce__(self):
        return (Path.touch, (Path("it-ran"),))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"weight": _Runs()}, "cannot be read as weights only"),
        ([torch.zeros(1)], "does not contain a state dict"),
        ({}, "does not contain a state dict"),
        ({"epoch": 1}, "does not contain a state dict"),
    ],
)
def test_what_is_not_a_state_dict_is_refused(content, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(content, "theirs.pt")
    with pytest.raises(InputError, match=rf"theirs\.pt: {message}"):
        pretrained.import_weights(Path("theirs.pt"), Path("own.safetensors"))
    assert [path.name for path in Path().iterdir()] == ["theirs.pt"]


def _zipped(content: object) -> bytes:
    with io.BytesIO() as file:
        torch.save(content, file)
        return file.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read as weights only (it is empty); save it with torch.save"),
        (b"hello\n", "(it is not a file of torch.save or safetensors); save it with torch.save"),
        (b"this is text\n", "(it is not a file of torch.save or safetensors); save it"),
        (pickle.dumps({"args": Namespace()}, 2), "(it contains argparse.Namespace); save it"),
        (pickle.dumps({"weight": _Runs()}, 4), "(it is damaged, or not a file of torch.save);"),
        (pickle.dumps({"weight": 1}, 5), "(it is damaged, or not a file of torch.save); save it"),
        (_zipped({"weight": torch.zeros(9)})[:-40], "(it is damaged, or not a file of torch.save)"),
        (safetensors.torch.save({"weight": torch.zeros(1)}), "is a safetensors file; name it *.s"),
    ],
)
def test_files_of_another_kind_are_told_in_words(content, message, tmp_path, recwarn):
    (tmp_path / "theirs.pth").write_bytes(content)
    with pytest.raises(InputError, match=re.escape(message)) as raised:
        pretrained.import_weights(tmp_path / "theirs.pth", tmp_path / "own.safetensors")
    assert "\n" not in str(raised.value)
    assert not recwarn.list  # torch's, which would be printed before the line


@pytest.mark.parametrize("name", ["theirs.pth", "theirs.safetensors"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_not_imported(name, value, tmp_path):
    tensors = {"count": torch.ones(1, dtype=torch.int64), "weight": torch.tensor([0.0, value])}
    write = safetensors.torch.save_file if name.endswith("safetensors") else torch.save
    write(tensors, tmp_path / name)
    with pytest.raises(InputError, match=rf"{name}: weight is not all finite; take other weights"):
        pretrained.import_weights(tmp_path / name, tmp_path / "own.safetensors")
    assert not (tmp_path / "own.safetensors").exists()


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.eye(3).to_sparse(), r"fc\.weight is not a plain array \(torch\.sparse_coo\); save"),
        (torch.empty(3, device="meta"), r"fc\.weight is not a plain array \(meta\); save"),
        (
            torch.zeros(3, dtype=torch.complex64),
            r"fc\.weight is complex64, not floating point; take",
        ),
        (
            torch.zeros(3, dtype=torch.int8),
            r"fc\.weight is int8, not floating point; take the float",
        ),
        (
            torch.zeros(3).as_strided((10**9,), (0,)),
            r"fc\.weight has 4,000,000,000 bytes in the memory of 12; save it with \.clone\(\)",
        ),
    ],
)
def test_tensors_that_are_no_weights_are_not_imported(tensor, message, tmp_path):
    torch.save({"fc.weight": tensor, "bn.num_batches_tracked": torch.tensor(1)}, tmp_path / "a.pt")
    with pytest.raises(InputError, match=rf"a\.pt: {message}"):
        pretrained.import_weights(tmp_path / "a.pt", tmp_path / "own.safetensors")
    assert not (tmp_path / "own.safetensors").exists()


@pytest.mark.filterwarnings("ignore")  # torch's, that it will not have such tensors one day
def test_quantised_tensors_are_not_imported(tmp_path):
    low = torch.quantize_per_tensor(torch.zeros(3), 0.1, 0, torch.qint8)
    torch.save({"fc.weight": low}, tmp_path / "a.pt")
    with pytest.raises(InputError, match=r"fc\.weight is not a plain array \(quantized\); save"):
        pretrained.import_weights(tmp_path / "a.pt", tmp_path / "own.safetensors")


def test_files_that_expand_are_not_imported(tmp_path):
    stored, packed, shared = (tmp_path / f"{name}.pt" for name in ("stored", "packed", "shared"))
    ones = torch.ones(10_000)
    torch.save({"weight": ones, "tied": ones}, stored)
    assert pretrained.import_weights(stored, tmp_path / "own.safetensors") == (2, "")
    with zipfile.ZipFile(stored) as source, zipfile.ZipFile(packed, "w", 8) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    with pytest.raises(
        InputError, match=r"packed\.pt: a compressed archive of 4\d,\d+ bytes; save"
    ):
        pretrained.import_weights(packed, tmp_path / "own.safetensors")
    torch.save({f"{number}": ones for number in range(9)}, shared)
    with pytest.raises(InputError, match=r"its tensors have 360,000 bytes, the file 4\d,\d+; save"):
        pretrained.import_weights(shared, tmp_path / "own.safetensors")


def test_targets_that_cannot_be_written_are_one_line(tmp_path):
    torch.save({"weight": torch.zeros(1)}, tmp_path / "a.pt")
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(InputError, match=r"folder\.safetensors: is a folder; name the file to wr"):
        pretrained.import_weights(tmp_path / "a.pt", tmp_path / "folder.safetensors")
    with pytest.raises(InputError, match=r"a\.pt/own\.safetensors: cannot write here"):
        pretrained.import_weights(tmp_path / "a.pt", tmp_path / "a.pt/own.safetensors")


def test_integers_in_place_of_a_networks_weights_are_refused(prepared):
    """Also where their names do not say what they are."""
    network = _network(classes=3)
    network.register_parameter("scales", nn.Parameter(torch.ones(2)))
    tensors = network.state_dict() | {"scales": torch.ones(2, dtype=torch.int64)}
    with pytest.raises(InputError, match="scales is int64, not floating point; take the float"):
        match(network, tensors)


def test_damaged_files_and_wrong_targets_are_one_line(tmp_path):
    (tmp_path / "a.pth").write_bytes(b"PK\x03\x04 not whole")
    target = tmp_path / "a.safetensors"
    with pytest.raises(InputError, match="cannot be read as weights only") as raised:
        pretrained.import_weights(tmp_path / "a.pth", target)
    assert "\n" not in str(raised.value)
    for name in ("none.pth", "none.safetensors"):
        with pytest.raises(InputError, match=rf"{name}: no such file; name the one that holds"):
            pretrained.import_weights(tmp_path / name, target)
    (tmp_path / "none.safetensors").touch()
    with pytest.raises(InputError, match=r"none\.safetensors: is empty; copy it again"):
        pretrained.import_weights(tmp_path / "none.safetensors", target)
    with pytest.raises(InputError, match=r"name it \*\.safetensors"):
        pretrained.import_weights(tmp_path / "a.pth", tmp_path / "a.bin")
    assert not target.exists()


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("", r"is empty; name weights/FILE\.safetensors, or set it to null"),
        (" ", "is empty; name weights/FILE"),
        ("own.pth", r"own\.pth: not a safetensors file; import it: rolekd weights import own\.pth"),
        ("other/own.safetensors", "put the file into weights/ and name it weights/own.safetensors"),
        ("weights/../own.safetensors", "put the file into weights/"),
        ("weights/none.safetensors", "no such file"),
        ("weights/damaged.safetensors", "not a safetensors file"),
        ("weights/other.safetensors", r"weights of another network \(bn1\.weight: not there"),
        ("weights/endless.safetensors", "features.3.squeeze.weight is not all finite"),
        ("weights/lying.safetensors", "normalization.std: 0 is not a deviation"),
    ],
)
def test_weights_that_no_network_can_begin_with(weights, message, prepared):
    folder = Path("weights")
    folder.mkdir()
    (folder / "damaged.safetensors").write_bytes(b"\x00" * 40)
    fine = _network().state_dict()
    endless = fine | {"features.3.squeeze.weight": fine["features.3.squeeze.weight"] / 0}
    state.write_weights(folder / "endless.safetensors", endless, {})
    state.write_weights(folder / "other.safetensors", fine, {"model": "theirs"})
    lie = {"normalization": {"mean": [0.5], "std": [0.0]}}
    state.write_weights(folder / "lying.safetensors", fine, lie)
    model = "torchvision:resnet18" if "other" in weights else SMALL
    with pytest.raises(InputError, match=rf"^teacher\.weights: .*{message}"):
        pretrained.check_and_write(
            _params(weights=weights, model={"name": model}), "teacher", Path("out")
        )
    assert not Path("out").exists()


def test_a_file_without_any_description_will_do(prepared):
    Path("weights").mkdir()
    save_file(_network(classes=3).state_dict(), "weights/plain.safetensors")
    params = _params(weights="weights/plain.safetensors")
    pretrained.check_and_write(params, "teacher", Outputs().pretrained("teacher"))
    told = roles.told_of_weights(params.teacher, prepared, "teacher")
    assert told == "teacher.weights: weights/plain.safetensors: 52 of 52 tensors"


def _lay(network, role="teacher", about=None):
    target = Outputs().pretrained(role)
    target.parent.mkdir(parents=True, exist_ok=True)
    state.write_weights(target, network.state_dict(), about or {})


def test_a_student_begins_with_weights_of_its_own(prepared):
    source = _network()
    _lay(source, "student")
    params = StudentParams(model={"name": SMALL}, bits=4, weights="weights/x.safetensors")
    teacher = _network(classes=3, seed=2)
    for begins in (teacher, None):
        network, about = roles.student(params, prepared, 0, begins)
        name = "features.3.squeeze.weight"
        assert torch.equal(network.state_dict()[name], source.state_dict()[name])
        assert about["copied_from_teacher"] == 0
        assert about["copied_from_weights"] > 0.9
    state.save_weights(Path("student.safetensors"), network.eval(), about)
    assert roles.load("student.safetensors", prepared)[1] == about  # the description is known


def test_a_taken_teacher_answers_as_where_it_was_trained(prepared):
    """Also at the border, where a convolution pads with zeros of its own normalisation."""
    source = _network(classes=3, side=96).eval()
    _lay(source, about={"normalization": THEIRS})
    params = TeacherParams(model={"name": SMALL}, weights="weights/x.safetensors", train=False)
    network, about = roles.teacher(params, prepared, seed=0)
    assert about["normalization"] == THEIRS
    images, _ = prepared.split("test")
    there = replace(prepared, mean=tuple(THEIRS["mean"]), std=tuple(THEIRS["std"]))
    expected = predict(source, images, Normalize(there, torch.device("cpu")))
    here = Normalize(prepared, torch.device("cpu"))
    np.testing.assert_allclose(predict(network, images, here), expected, rtol=1e-3, atol=1e-4)
    state.save_weights(Path("teacher.safetensors"), network, about)
    loaded, again = roles.load("teacher.safetensors", prepared)
    assert again == about
    np.testing.assert_allclose(predict(loaded, images, here), expected, rtol=1e-3, atol=1e-4)
    frozen = folded(loaded)  # as the distillation runs it
    np.testing.assert_allclose(predict(frozen, images, here), expected, rtol=1e-3, atol=1e-4)
    # a plain copy of it has the scale in its weights
    twin = _network(classes=3, side=96, seed=1)
    assert len(copy_matching(twin, loaded)) == 52
    stem = loaded.get_submodule("features.0")
    assert isinstance(stem, NormalizedConv2d)
    torch.testing.assert_close(twin.state_dict()["features.0.weight"], stem.scaled_weight())


def test_a_taken_teacher_that_does_not_fit_is_named(prepared):
    _lay(_network())
    params = TeacherParams(model={"name": SMALL}, weights="weights/x.safetensors", train=False)
    with pytest.raises(InputError, match=r"classifier\.1\.weight: 1000x512x1x1 .*teacher\.train"):
        roles.teacher(params, prepared, seed=0)


_TRAINED = {
    "role": "teacher",
    "model": SMALL,
    "channels": 3,
    "class_names": ["a", "b", "c"],
    "image_size": [96, 96],
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"class_names": ["a", "b", "d"]}, r"trained for other classes \(d not in the data\); set"),
        ({"class_names": ["a", "b"]}, r"trained for other classes \(without c\); set teacher"),
        (
            {"class_names": ["b", "a", "c"]},
            r"in another order \(class 0 is b there, a in the data\)",
        ),
        ({"class_names": [["a"], 2]}, "class_names is not a list of names; import the weights"),
        ({"model": "mine"}, rf"trained with model 'mine', here it is {SMALL}; name a teacher"),
        ({"channels": 1}, "trained with channels 1, here it is 3; name a teacher"),
        ({"role": "student"}, "trained with role 'student', here it is teacher; name a teacher"),
    ],
)
def test_a_taken_teacher_of_other_classes_or_of_another_network_is_refused(
    change, message, prepared
):
    """Though all shapes agree."""
    params = _params(weights="weights/x.safetensors", train=False)
    network = _network(classes=3)
    _lay(network, about=_TRAINED)
    assert roles.teacher(params.teacher, prepared, seed=0)
    assert roles.told_of_size(prepared) is None
    _lay(network, about=_TRAINED | change)
    with pytest.raises(
        InputError, match=rf"^teacher\.weights: weights/x\.safetensors: .*{message}"
    ):
        roles.teacher(params.teacher, prepared, seed=0)
    # one that is trained on may be of other classes
    roles.teacher(_params(weights="weights/x.safetensors").teacher, prepared, seed=0)


def test_a_taken_teacher_of_another_network_is_refused_before_any_work(prepared):
    Path("weights").mkdir()
    state.write_weights(
        Path("weights/x.safetensors"), _network().state_dict(), _TRAINED | {"model": "mine"}
    )
    with pytest.raises(
        InputError, match=r"^teacher\.weights: weights/x.* trained with model 'mine'"
    ):
        pretrained.check_and_write(_params(weights="weights/x.safetensors", train=False), "teacher")
    pretrained.check_and_write(_params(weights="weights/x.safetensors"), "teacher")


@pytest.mark.parametrize(
    ("size", "told"),
    [
        ([224, 224], "trained with image_size [224, 224], here it is [96, 96]"),
        ("large", "trained with image_size 'large', here it is [96, 96]"),
    ],
)
def test_another_image_size_of_a_taken_teacher_is_told(size, told, prepared):
    _lay(_network(classes=3), about=_TRAINED | {"image_size": size})
    assert roles.told_of_size(prepared) == told


def test_a_taken_teacher_teaches(prepared):
    _lay(_network(classes=3), about={"normalization": THEIRS})
    taken = TeacherParams(model={"name": SMALL}, weights="weights/x.safetensors", train=False)
    teacher = roles.teacher(taken, prepared, seed=0)
    student = roles.student(StudentParams(model={"name": SMALL}, bits=4), prepared, 0, teacher[0])
    objective = Distillation(student, teacher, DistillParams(loss="soft"), 0)
    images = torch.zeros(2, 3, 96, 96)
    assert objective.teacher(images).shape == student[0].train()(images).shape


def test_weights_without_a_stage_plan_are_told(photos):
    params = TeacherParams(model={"name": SMALL}, weights="weights/x.safetensors")
    with pytest.raises(InputError, match=r"has no folder, so pretrained/teacher\.safetensors"):
        roles.teacher(params, photos, seed=0)


def test_the_file_beside_the_data_is_where_the_stages_have_it(digits):
    here = replace(digits, folder=Outputs().data)
    assert pretrained.beside(here, "teacher") == Outputs().pretrained("teacher")


def test_a_network_without_a_convolution_has_no_stem():
    from rolekd.models.weights import stem_path

    assert stem_path(nn.Linear(2, 2)) is None
