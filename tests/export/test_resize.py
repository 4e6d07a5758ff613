"""Images of any size: the graph's resizing against Pillow's, bit for bit."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from PIL import Image, ImageOps

from rolekd.export import load
from rolekd.export.builder import Builder
from rolekd.export.resize import to_size
from rolekd.export.session import start_session
from rolekd.export.verify import verify
from rolekd.export.write import export
from rolekd.models import build
from rolekd.quantize import IntegerModel, convert, lower


def _pillow(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    flat = image if image.shape[2] == 3 else image[..., 0]
    fitted = ImageOps.fit(Image.fromarray(flat), size[::-1], Image.Resampling.BICUBIC)
    return np.asarray(fitted).reshape(*size, -1)


def _graph(size: tuple[int, int], channels: int) -> bytes:
    builder = Builder()
    made = to_size(builder, "image", size, channels)
    graph = builder.graph(
        "resize",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", "H", "W", channels])],
        [helper.make_tensor_value_info(made, TensorProto.UINT8, ["N", *size, channels])],
    )
    opsets = [helper.make_opsetid("", builder.opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    height=st.integers(1, 120),
    width=st.integers(1, 120),
    side=st.integers(1, 40),
    channels=st.sampled_from([1, 3]),
    grain=st.integers(1, 8),
    seed=st.integers(0, 1000),
)
def test_every_pixel_is_pillows(
    height: int, width: int, side: int, channels: int, grain: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(
        0, 256, (2, -(-height // grain), -(-width // grain), channels), dtype=np.uint8
    )
    images = coarse.repeat(grain, 1).repeat(grain, 2)[:, :height, :width]
    session = start_session(_graph((side, side), channels), "resize")
    (found,) = session.run(None, {"image": np.ascontiguousarray(images)})
    for image, result in zip(images, found, strict=True):
        np.testing.assert_array_equal(result, _pillow(image, (side, side)))


@pytest.fixture(scope="module")
def lowered() -> IntegerModel:
    model = build("resnet8", classes=3, channels=3, image_size=(8, 8), width=4, seed=0)
    converted = convert(model, weight_bits=2, activation_bits=2)
    converted(torch.randn(32, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    return lower(converted, mean=[0.5] * 3, std=[0.25] * 3, image_size=(8, 8))


def test_a_network_that_resizes_is_the_same_on_its_own_size(
    lowered: IntegerModel, tmp_path: Path
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 3), dtype=np.uint8)
    paths = tmp_path / "plain.onnx", tmp_path / "any.onnx"
    for path, resize in zip(paths, (False, True), strict=True):
        export(lowered, path, classes=list("abc"), metadata={}, resize=resize)
        assert verify(path, lowered, images, layers=True).exact
    plain, flexible = (load(path) for path in paths)
    assert plain.image_shape == flexible.image_shape == (8, 8, 3)
    assert flexible.runtime.get_inputs()[0].shape[1:] == ["H", "W", 3]
    np.testing.assert_array_equal(plain(images)[0], flexible(images)[0])


@pytest.mark.parametrize("shape", [(8, 9), (31, 20), (5, 5), (64, 200), (90, 8)])
def test_images_of_other_sizes_give_what_their_resized_form_gives(
    lowered: IntegerModel, tmp_path: Path, shape: tuple[int, int]
) -> None:
    path = tmp_path / "any.onnx"
    export(lowered, path, classes=list("abc"), metadata={}, resize=True)
    images = np.random.default_rng(1).integers(0, 256, (4, *shape, 3), dtype=np.uint8)
    resized = np.stack([_pillow(image, (8, 8)) for image in images])
    network = load(path)
    np.testing.assert_array_equal(network(images)[0], network(resized)[0])
