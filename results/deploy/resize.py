"""How far a graph's resizing is from Pillow's, which made the training images.

    python results/deploy/resize.py FOLDER_OF_CIFAR10

Photos of CIFAR-10, enlarged and cropped to random sizes, and noise are resized to 32x32 by Pillow
(`ImageOps.fit`, bicubic), by `rolekd.export.resize`, and by onnxruntime's antialiased Resize of the
centred square of whole pixels.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper
from PIL import Image, ImageOps

from rolekd.export.builder import Builder
from rolekd.export.resize import to_size
from rolekd.export.session import start_session

SIDE, COUNT = 32, 1000
Images = NDArray[np.uint8]


def graph(write: Callable[[Builder], str]) -> Callable[[Images], Images]:
    """Return what runs a graph on one image [H, W, 3]."""
    builder = Builder()
    made = write(builder)
    proto = helper.make_model(
        builder.graph(
            "resize",
            [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", "H", "W", 3])],
            [helper.make_tensor_value_info(made, TensorProto.UINT8, None)],
        ),
        opset_imports=[helper.make_opsetid("", builder.opset)],
        ir_version=10,
    )
    session = start_session(proto.SerializeToString(), "resize")
    return lambda image: session.run(None, {"image": image[None]})[0][0]


def runtimes(builder: Builder) -> str:
    """Append onnxruntime's way: cut the square, then Resize."""
    shape = builder.node("Shape", ["image"], start=1, end=3)
    side = builder.node("ReduceMin", [shape], keepdims=1)
    rest = builder.node("Sub", [shape, side])
    begin = builder.node("Div", [rest, builder.constant(np.array([2], np.int64))])
    end = builder.node("Add", [begin, side])
    axes = builder.constant(np.array([1, 2], np.int64))
    square = builder.node("Slice", ["image", begin, end, axes])
    sizes = builder.constant(np.array([SIDE, SIDE], np.int64))
    return builder.node(
        "Resize",
        [square, "", "", sizes],
        axes=[1, 2],
        mode="cubic",
        antialias=1,
        cubic_coeff_a=-0.5,
        exclude_outside=1,
    )


def main() -> None:
    """Print the table."""
    file = next(Path(sys.argv[1]).rglob("test_batch.bin"))
    photos = np.fromfile(file, np.uint8).reshape(-1, 3073)[:COUNT, 1:]
    photos = photos.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    rng = np.random.default_rng(0)
    ways = {
        "rolekd": graph(lambda builder: to_size(builder, "image", (SIDE, SIDE), 3)),
        "onnxruntime's Resize": graph(runtimes),
    }
    for square in (True, False):
        for kind in ("photos", "noise"):
            differences: dict[str, list[Images]] = {name: [] for name in ways}
            for photo in photos:
                height, width = rng.integers(20, 257, 2)
                width = height if square else width
                image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
                if kind == "photos":
                    image = np.asarray(Image.fromarray(photo).resize((width, height)))
                pillow = np.asarray(
                    ImageOps.fit(Image.fromarray(image), (SIDE, SIDE), Image.Resampling.BICUBIC)
                )
                for name, way in ways.items():
                    differences[name].append(np.abs(way(image).astype(int) - pillow))
            for name, found in differences.items():
                all_of = np.stack(found)
                print(  # noqa: T201
                    f"{'square' if square else 'any'} {kind}, {name}: largest difference "
                    f"{all_of.max()} levels, {100 * (all_of == 0).mean():.2f} % of the values "
                    f"equal, {100 * (all_of <= 1).mean():.2f} % within 1"
                )


if __name__ == "__main__":
    main()
