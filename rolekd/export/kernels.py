"""Do this machine's 8-bit convolutions sum exactly? Asked of onnxruntime itself, once a process.

x86 processors without VNNI add two products of uint8 and int8 in 16 bits, which cut off at 32767
(Intel, oneDNN's developer guide, "Nuances of int8 computations"). Which instructions onnxruntime
takes depends on processor, system and version, so no list of them is kept here: two convolutions
of the largest values tell.
"""

from functools import cache

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

from rolekd.export.builder import MICROSOFT, Builder

LARGEST_EXACT_PAIR = 2**15 - 1  # sum of two products that every processor adds exactly

_WHITE, _WEIGHT, _EXPECTED = 255, 127, 200
_SIDE = 3
# Channels in and out. onnxruntime has two kernels: one that wants multiples of 4 channels (MLAS's
# symmetric convolution) and a product of matrices for all others.
_SHAPES = ((16, 16), (3, 5))


@cache
def exact() -> bool:
    """Return whether convolutions whose pairs of products leave 16 bits are summed exactly."""
    builder = Builder()
    images = {f"image{inputs}": inputs for inputs, _ in _SHAPES}
    made = [_convolution(builder, *shape) for shape in _SHAPES]
    sizes = [1, _SIDE, _SIDE]
    proto = helper.make_model(
        builder.graph(
            "kernels",
            [
                helper.make_tensor_value_info(name, TensorProto.UINT8, [*sizes, channels])
                for name, channels in images.items()
            ],
            [helper.make_tensor_value_info(name, TensorProto.UINT8, None) for name in made],
        ),
        opset_imports=[
            helper.make_opsetid("", builder.opset),
            helper.make_opsetid(MICROSOFT, 1),
        ],
        ir_version=10,
    )
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    feeds = {
        name: np.full((*sizes, channels), _WHITE, np.uint8) for name, channels in images.items()
    }
    return all((found == _EXPECTED).all() for found in session.run(None, feeds))


def _convolution(builder: Builder, inputs: int, outputs: int) -> str:
    """Append a QLinearConv of equal products that gives the expected value where it is exact."""
    total = inputs * _SIDE**2 * _WHITE * _WEIGHT
    one, zero = builder.constant(np.float32(1)), builder.constant(np.uint8(0))
    weights = np.full((outputs, inputs, _SIDE, _SIDE), _WEIGHT, np.int8)
    return builder.node(
        "QLinearConv",
        [
            *(f"image{inputs}", one, zero, builder.constant(weights)),
            builder.constant(np.full(outputs, _EXPECTED / total, np.float32)),
            builder.constant(np.zeros(outputs, np.int8)),
            *(one, zero, builder.constant(np.zeros(outputs, np.int32))),
        ],
        domain=MICROSOFT,
        channels_last=1,
        kernel_shape=[_SIDE, _SIDE],
    )
