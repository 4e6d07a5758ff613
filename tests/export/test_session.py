"""Faults of exported files: each is one clear line."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import torch

from rolekd.errors import InputError
from rolekd.export import load, selftest
from rolekd.export.session import HASH_KEY, PAIR_KEY, RUNTIME_KEY, seal
from rolekd.export.verify import verify
from rolekd.export.write import export
from rolekd.models import build
from rolekd.params import Target
from rolekd.quantize import IntegerModel, convert, lower
from rolekd.quantize.operations import Convolution


@cache
def _lowered(seed: int) -> IntegerModel:
    model = build("resnet8", classes=3, channels=1, image_size=(8, 8), width=4, seed=seed)
    converted = convert(model, weight_bits=2, activation_bits=2)
    converted(torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    return lower(converted, mean=[0.5], std=[0.25], image_size=(8, 8))


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    export(_lowered(0), tmp_path / "model.onnx", classes=list("abc"), metadata={})
    return tmp_path / "model.onnx"


def _edit(path: Path, change: Callable[[onnx.ModelProto], None]) -> None:
    """Change a file behind its hash's back."""
    model = onnx.load(path)
    change(model)
    path.write_bytes(model.SerializeToString())


def _entries(path: Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.onnx: cannot be read"):
        load(tmp_path / "none.onnx")


def test_another_files_hash(exported: Path) -> None:
    with pytest.raises(InputError, match="its hash is not 00000"):
        load(exported, sha256="0" * 64)


@pytest.mark.parametrize("keep", [0, 10, 2000, -1])
def test_cut_off_file(exported: Path, keep: int) -> None:
    exported.write_bytes(exported.read_bytes()[:keep])
    with pytest.raises(InputError, match="damaged"):
        load(exported)


def test_changed_weights(exported: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        tensor = max(model.graph.initializer, key=lambda t: len(t.raw_data))
        tensor.raw_data = bytes(len(tensor.raw_data))

    _edit(exported, change)
    with pytest.raises(InputError, match="damaged or changed"):
        load(exported)


def test_any_changed_byte(exported: Path) -> None:
    whole, rng = exported.read_bytes(), np.random.default_rng(0)
    places = [*rng.integers(0, len(whole), 20), *range(len(whole) - 400, len(whole), 7)]
    for place in places:  # the last hold the metadata
        changed = bytearray(whole)
        changed[place] ^= 1 << int(rng.integers(8))
        exported.write_bytes(changed)
        with pytest.raises(InputError, match=r"damaged|keeps weights in other files"):
            load(exported)


def _branch(model: onnx.ModelProto) -> onnx.GraphProto:
    (node,) = (node for node in model.graph.node if node.op_type == "If")
    return next(a.g for a in node.attribute if a.name == "else_branch")


@pytest.mark.parametrize("part", [lambda model: model.graph, _branch])
def test_external_data(exported: Path, part: Callable[[onnx.ModelProto], onnx.GraphProto]) -> None:
    export(_lowered(0), exported, classes=list("abc"), metadata={}, resize=True)

    def change(model: onnx.ModelProto) -> None:
        part(model).initializer[0].data_location = onnx.TensorProto.EXTERNAL

    _edit(exported, change)
    with pytest.raises(InputError, match="weights in other files"):
        load(exported)


def _in_a_function(model: onnx.ModelProto) -> onnx.TensorProto:
    attribute = (
        model.functions.add(name="f").node.add(op_type="Constant").attribute.add(name="value")
    )
    return attribute.t


@pytest.mark.parametrize(
    "tensor", [_in_a_function, lambda model: model.graph.sparse_initializer.add().values]
)
def test_external_data_outside_of_graphs(
    exported: Path, tensor: Callable[[onnx.ModelProto], onnx.TensorProto]
) -> None:
    def change(model: onnx.ModelProto) -> None:
        tensor(model).data_location = onnx.TensorProto.EXTERNAL

    _edit(exported, change)
    with pytest.raises(InputError, match="weights in other files"):
        load(exported)


def test_onnxruntime_too_old(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "__version__", "1.9.3")
    with pytest.raises(InputError, match=r"needs onnxruntime 1\.25\.0, this is 1\.9\.3"):
        load(exported)


def test_a_graph_that_onnxruntime_does_not_know(exported: Path) -> None:
    model = onnx.load(exported)
    model.graph.node[0].op_type = "NoSuchOperator"
    exported.write_bytes(seal(model, _entries(exported)))
    with pytest.raises(InputError, match="onnxruntime refuses it"):
        load(exported)


@pytest.mark.parametrize("resize", [False, True])
def test_no_images_give_no_rows(exported: Path, resize: bool) -> None:
    export(_lowered(0), exported, classes=list("abc"), metadata={}, resize=resize)
    for found in load(exported)(np.zeros((0, 8, 8, 1), np.uint8)):
        assert (found.shape, found.dtype) == ((0, 3), np.float32)


@pytest.mark.parametrize(
    ("images", "told"),
    [
        (np.zeros((2, 8, 8, 1), np.float32), r"float32 \[2, 8, 8, 1\]"),
        (np.zeros((2, 8, 8, 3), np.uint8), r"uint8 \[2, 8, 8, 3\]"),
        (np.zeros((2, 9, 8, 1), np.uint8), r"uint8 \[2, 9, 8, 1\]"),
        (np.zeros((8, 8, 1), np.uint8), r"uint8 \[8, 8, 1\]"),
        (np.zeros((0, 9, 8, 1), np.uint8), r"uint8 \[0, 9, 8, 1\]"),
        ([[[[0.5]]]], r"float64 \[1, 1, 1, 1\]"),
        ([np.zeros((8, 8, 1), np.uint8), np.zeros((9, 8, 1), np.uint8)], "of several sizes"),
    ],
)
def test_images_of_another_kind(exported: Path, images: npt.NDArray[np.uint8], told: str) -> None:
    with pytest.raises(InputError, match=rf"images: {told}, where .* uint8 \[N, 8, 8, 1\]"):
        load(exported)(images)


def test_images_without_pixels(exported: Path) -> None:
    export(_lowered(0), exported, classes=list("abc"), metadata={}, resize=True)
    with pytest.raises(InputError, match=r"\[1, 0, 8, 1\], where .* \[N, any, any, 1\]"):
        load(exported)(np.zeros((1, 0, 8, 1), np.uint8))


@pytest.fixture
def without_vnni(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selftest, "exact", lambda: False)


@pytest.mark.usefixtures("without_vnni")
def test_a_file_for_vnni_without_vnni(tmp_path: Path) -> None:
    path = tmp_path / "vnni.onnx"
    export(_lowered(0), path, classes=list("abc"), metadata={}, target="cpu-vnni")
    assert int(_entries(path)[PAIR_KEY]) > selftest.LARGEST_EXACT_PAIR
    refusal = r"vnni\.onnx: gives wrong classes on this processor, .* export\.target: cpu"
    with pytest.raises(InputError, match=refusal):
        load(path)
    with pytest.raises(InputError, match=refusal):
        verify(path, _lowered(0), np.zeros((1, 8, 8, 1), np.uint8))


@pytest.mark.usefixtures("without_vnni")
@pytest.mark.parametrize("target", ["cpu", "float"])
def test_other_files_without_vnni(target: Target, exported: Path) -> None:
    export(_lowered(0), exported, classes=list("abc"), metadata={}, target=target)
    assert int(_entries(exported)[PAIR_KEY]) <= selftest.LARGEST_EXACT_PAIR
    assert load(exported)


@pytest.mark.parametrize(
    ("version", "remedy"),
    [("1.24.3", r"install onnxruntime 1\.25\.0 or newer"), ("1.33.0", r"export\.target: float")],
)
def test_kernels_that_sum_wrongly(
    version: str, remedy: str, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        selftest, "faulty_kinds", lambda: ("MatMulInteger U8S8", "QLinearConv U8S8")
    )
    monkeypatch.setattr(onnxruntime, "__version__", version)
    model = onnx.load(exported)
    entries = {**_entries(exported), RUNTIME_KEY: "1.0.0"}
    exported.write_bytes(seal(model, {k: v for k, v in entries.items() if k != HASH_KEY}))
    told = rf"onnxruntime {version} sums QLinearConv U8S8 wrongly on this processor; .*{remedy}"
    with pytest.raises(InputError, match=told):
        load(exported)
    export(_lowered(0), exported, classes=list("abc"), metadata={}, target="float")
    monkeypatch.undo()
    monkeypatch.setattr(selftest, "faulty_kinds", lambda: pytest.fail("asked for a file of floats"))
    assert load(exported)


def test_verify_names_the_first_layer_that_differs(exported: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 1), dtype=np.uint8)
    same = verify(exported, _lowered(0), images, layers=True)
    assert same.exact
    other = verify(exported, _lowered(1), images, layers=True)
    assert not other.exact
    assert other.first_different == "relu_quantizer"


def test_verify_names_a_layer_in_the_middle(exported: Path) -> None:
    """One weight of one convolution differs: what its sums become is the first to tell."""
    whole = _lowered(0)
    changed = []
    for operation in whole.operations:
        if operation.name == "stage2.0.conv2":
            assert isinstance(operation, Convolution)
            weight = operation.weight.clone()
            weight[0] = -weight[0]
            operation = replace(operation, weight=weight)
        changed.append(operation)
    images = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 1), dtype=np.uint8)
    found = verify(exported, replace(whole, operations=tuple(changed)), images, layers=True)
    (first,) = (op.name for op in whole.operations if "stage2.0.conv2" in op.inputs)
    assert found.first_different == first
