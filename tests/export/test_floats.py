"""Float networks as ONNX files, onnxruntime's 8-bit form of them, and how both are measured."""

from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from rolekd.export import Session, load, measure, session
from rolekd.export.floats import export_float, quantize_statically
from rolekd.models import build

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (32, 8, 8, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def exported(
    images: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> tuple[torch.nn.Module, Path]:
    model = build("resnet8", classes=4, channels=3, image_size=(8, 8), width=4, seed=0)
    model(torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    model.eval()
    path = tmp_path_factory.mktemp("float") / "float.onnx"
    export_float(
        model,
        path,
        mean=MEAN,
        std=STD,
        image_size=(8, 8),
        classes=list("abcd"),
        metadata={"role": "teacher"},
    )
    return model, path


@torch.no_grad()
def test_a_float_network_takes_raw_images_and_gives_pytorchs_logits(
    exported: tuple[torch.nn.Module, Path], images: np.ndarray
) -> None:
    model, path = exported
    network = load(path)
    assert network.metadata["classes"] == '["a", "b", "c", "d"]'
    x = (torch.from_numpy(images).float() / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
    expected = model(x.permute(0, 3, 1, 2)).numpy()
    logits, probabilities = network(images)
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)


def test_the_file_does_not_tell_where_its_project_lies(
    exported: tuple[torch.nn.Module, Path],
) -> None:
    content = exported[1].read_bytes()
    assert str(Path(__file__).parents[2]).encode() not in content
    assert b"site-packages" not in content


def test_onnxruntimes_own_quantisation_is_8_bit_and_close(
    exported: tuple[torch.nn.Module, Path], images: np.ndarray, tmp_path: Path
) -> None:
    _, path = exported
    quantize_statically(path, tmp_path / "int8.onnx", images)
    session_of_float, quantized = load(path), onnx.load(tmp_path / "int8.onnx")
    kinds = {tensor.data_type for tensor in quantized.graph.initializer if len(tensor.dims) == 4}
    assert onnx.TensorProto.INT8 in kinds
    runtime = session.start_session((tmp_path / "int8.onnx").read_bytes(), "int8.onnx")
    logits = runtime.run(["logits"], {"image": images})[0]
    expected, _ = session_of_float(images)
    assert np.abs(logits - expected).max() < 0.3 * np.ptp(expected)


def test_footprint_counts_a_fresh_process(
    exported: tuple[torch.nn.Module, Path],
) -> None:
    found = measure.footprint(exported[1], (8, 8, 3), 4)
    assert 0 < found["load_seconds"] < 60
    assert 0 < found["peak_bytes"] < 1e9


def test_latencies_count_every_call_in_every_round() -> None:
    called = {"one": 0, "other": 0}

    def count(name: str) -> None:
        called[name] += 1

    calls = {name: partial(count, name) for name in called}
    found = measure.latencies(calls, seconds=0.0, rounds=3)
    assert called == {"one": 1 + 3 * 2, "other": 1 + 3 * 2}  # warm-up, then one more each round
    assert all(0 <= latency.median <= latency.p95 for latency in found.values())


def test_latency_of_one_image_is_that_of_each_network_on_its_own_shape(
    exported: tuple[torch.nn.Module, Path],
) -> None:
    seen: dict[str, list[np.ndarray]] = {"one": [], "other": []}

    class Watched(Session):
        def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            seen[self.origin].append(images)
            return super().__call__(images)

    one = load(exported[1])
    networks = {name: Watched(one.runtime, one.metadata, name) for name in seen}
    found = measure.of_one_image(networks, seconds=0.0)
    assert found.keys() == seen.keys()
    for name, images in seen.items():
        assert {image.shape for image in images} == {(1, 8, 8, 3)}, name
        assert all(image is images[0] for image in images)
        assert 0 < found[name].median <= found[name].p95
