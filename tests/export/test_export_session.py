"""Faults of exported files: each is one clear line."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from rolekd.errors import InputError
from rolekd.export import export, load, verify
from rolekd.export.session import graph_hash
from rolekd.models import build
from rolekd.quantize import IntegerModel, convert, lower


def _lowered(seed: int) -> IntegerModel:
    model = build("resnet8", classes=3, channels=1, image_size=(8, 8), width=4, seed=seed)
    converted = convert(model, weight_bits=2, activation_bits=2)
    converted(torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    return lower(converted, mean=[0.5], std=[0.25], image_size=(8, 8))


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    export(_lowered(0), tmp_path / "model.onnx", classes=list("abc"), metadata={})
    return tmp_path / "model.onnx"


def _edit(path: Path, change: object) -> None:
    model = onnx.load(path)
    assert callable(change)
    change(model)
    path.write_bytes(model.SerializeToString())


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


def test_onnxruntime_too_old(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "__version__", "1.9.3")
    with pytest.raises(InputError, match=r"needs onnxruntime 1\.\d+\.\d+, this is 1\.9\.3"):
        load(exported)


def test_a_graph_that_onnxruntime_does_not_know(exported: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        model.graph.node[0].op_type = "NoSuchOperator"
        for entry in model.metadata_props:
            if entry.key == "rolekd.graph_sha256":
                entry.value = graph_hash(model)

    _edit(exported, change)
    with pytest.raises(InputError, match="onnxruntime refuses it"):
        load(exported)


def test_verify_names_the_first_layer_that_differs(exported: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 1), dtype=np.uint8)
    same = verify(exported, _lowered(0), images, layers=True)
    assert same.exact
    other = verify(exported, _lowered(1), images, layers=True)
    assert not other.exact
    assert other.first_different == "relu_quantizer"
