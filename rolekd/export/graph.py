"""The ONNX graph of an integer network.

Feature maps are [N, H, W, C]; levels are uint8. Every float operation before the last rounding is
elementwise or sums integers below 2^24, so the graph repeats the integer evaluation bit for bit.
"""

from typing import assert_never

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper

from rolekd.errors import InputError
from rolekd.export import convolution
from rolekd.export.builder import Builder
from rolekd.quantize import integer
from rolekd.quantize.integer import IntegerModel, Operation

OPSET = 21
IR_VERSION = 10
_UINT8_MAX = 255
_TO_NCHW, _TO_NHWC = (0, 3, 1, 2), (0, 2, 3, 1)


def build(model: IntegerModel) -> tuple[onnx.ModelProto, dict[str, str]]:
    """Return the ONNX form of an integer network, and the form of each convolution by name.

    The graph maps "image", uint8 [N, H, W, C], to "logits" and "probabilities", both float32
    [N, classes]. Each map of levels is a tensor with its operation's name.
    """
    writer = _Writer(model)
    for operation in model.operations:
        writer.write(operation)
    builder = writer.builder
    logits = builder.node("Identity", [writer.tensors[model.output]], output="logits")
    builder.node("Softmax", [logits], output="probabilities", axis=-1)
    graph = builder.graph(
        "rolekd",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", *model.image_shape])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", writer.classes])
            for name in ("logits", "probabilities")
        ],
    )
    proto = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid("com.microsoft", 1)],
        ir_version=IR_VERSION,
        producer_name="rolekd",
    )
    return proto, writer.forms


class _Writer:
    """Writes one operation after the other; convolutions when their sums are scaled."""

    def __init__(self, model: IntegerModel) -> None:
        self.builder = Builder()
        self.tensors = {"image": "image"}
        self.forms: dict[str, str] = {}
        self._levels: set[str] = set()  # names of maps that are uint8 levels
        self._operations = {operation.name: operation for operation in model.operations}
        self._users = {
            name: [user for user in model.operations if name in user.inputs]
            for name in self._operations
        }
        blank = torch.zeros(1, *model.image_shape, dtype=torch.uint8)
        self._shapes = {name: tuple(x.shape[1:]) for name, x in model.values(blank).items()}
        self.classes = self._shapes[model.output][0]

    def write(self, operation: Operation) -> None:
        """Append the nodes of an operation."""
        sources = [self.tensors[name] for name in operation.inputs]
        match operation:
            case integer.Pixels():
                made = self._pixels(operation, sources[0])
            case integer.Convolution():
                made = ""  # written where its sums are scaled
            case integer.Requantize():
                made = self._requantize(operation)
            case integer.Affine():
                made = self._affine(operation)
            case integer.AddLevels():
                made = self._add_levels(operation, *sources)
            case integer.Relu():
                made = self.builder.node("Relu", sources)
            case integer.MaxPool():
                made = self._max_pool(operation, sources[0])
            case integer.GlobalAveragePool():
                axes = self.builder.constant(np.array([1, 2], np.int64))
                made = self.builder.node("ReduceMean", [sources[0], axes], keepdims=1)
            case integer.FloatConvolution():
                made = self._float_convolution(operation, sources[0])
            case integer.Flatten():
                channels_first = self.builder.node("Transpose", sources, perm=_TO_NCHW)
                made = self.builder.node("Flatten", [channels_first])
            case integer.Linear():
                weight = self.builder.constant(operation.weight.numpy())
                bias = self.builder.constant(operation.bias.numpy())
                made = self.builder.node("Gemm", [sources[0], weight, bias], transB=1)
            case _:
                assert_never(operation)
        self.tensors[operation.name] = made

    def _pixels(self, operation: integer.Pixels, source: str) -> str:
        pixels = self.builder.node("Cast", [source], to=TensorProto.FLOAT)
        offset = self.builder.constant(np.array(operation.offset, np.float32))
        centred = self.builder.node("Sub", [pixels, offset])
        if not operation.ones:
            return centred
        one_more = self.builder.constant(np.array([0] * 7 + [1], np.int64))
        return self.builder.node("Pad", [centred, one_more, self.builder.constant(np.float32(1))])

    def _affine(self, operation: integer.Affine) -> str:
        bias = operation.bias.numpy()
        if len(operation.inputs) == 1:
            return self._term(operation.inputs[0], operation.scales[0].numpy(), bias)
        total = ""
        for name, scale in zip(operation.inputs, operation.scales, strict=True):
            term = self._term(name, scale.numpy(), None)
            total = self.builder.node("Add", [total, term]) if total else term
        return self.builder.node("Add", [total, self.builder.constant(bias)])

    def _term(self, name: str, scale: NDArray[np.float32], bias: NDArray[np.float32] | None) -> str:
        """Append x * scale + bias of one input."""
        made = self._operations[name]
        if isinstance(made, integer.Convolution):
            source = self.tensors[made.inputs[0]]
            if self._on_levels(made) and convolution.fits_matmul(made):
                self.forms[name] = "matmul"
                size = self._shapes[name][1], self._shapes[name][2]
                return convolution.matmul(self.builder, source, made, size, scale, bias)
            self.forms[name] = "float"
            x = convolution.float_sum(self.builder, source, made)
        else:
            x = self.tensors[name]
            if name in self._levels:
                x = self.builder.node("Cast", [x], to=TensorProto.FLOAT)
        x = self.builder.node("Mul", [x, self.builder.constant(scale)])
        return x if bias is None else self.builder.node("Add", [x, self.builder.constant(bias)])

    def _on_levels(self, operation: integer.Convolution) -> bool:
        return operation.inputs[0] in self._levels

    def _requantize(self, operation: integer.Requantize) -> str:
        rounded = self.builder.node("Round", [self._affine(operation)])
        (user, *others) = self._users[operation.name]
        if isinstance(user, integer.AddLevels) and not others:
            return self._clip(rounded, operation)
        return self._to_levels(rounded, operation)

    def _add_levels(self, operation: integer.AddLevels, branch: str, stream: str) -> str:
        stream = self.builder.node("Cast", [stream], to=TensorProto.FLOAT)
        return self._to_levels(self.builder.node("Add", [branch, stream]), operation)

    def _clip(self, source: str, operation: integer.Requantize | integer.AddLevels) -> str:
        bounds = (np.float32(operation.low), np.float32(operation.high))
        return self.builder.node("Clip", [source, *map(self.builder.constant, bounds)])

    def _to_levels(self, source: str, operation: integer.Requantize | integer.AddLevels) -> str:
        if operation.low < 0 or operation.high > _UINT8_MAX:
            raise InputError(
                f"layer {operation.name}: levels {operation.low} to {operation.high} are no "
                "uint8; use an unsigned quantiser of at most 8 bits"
            )
        self._levels.add(operation.name)
        clipped = self._clip(source, operation)
        return self.builder.node("Cast", [clipped], output=operation.name, to=TensorProto.UINT8)

    def _max_pool(self, operation: integer.MaxPool, source: str) -> str:
        channels_first = self.builder.node("Transpose", [source], perm=_TO_NCHW)
        pooled = self.builder.node(
            "MaxPool",
            [channels_first],
            kernel_shape=operation.kernel,
            strides=operation.stride,
            pads=[*operation.padding, *operation.padding],
            ceil_mode=int(operation.ceil),
        )
        is_levels = operation.inputs[0] in self._levels
        if is_levels:
            self._levels.add(operation.name)
        output = operation.name if is_levels else None
        return self.builder.node("Transpose", [pooled], output=output, perm=_TO_NHWC)

    def _float_convolution(self, operation: integer.FloatConvolution, source: str) -> str:
        self.forms[operation.name] = "inexact"
        channels_first = self.builder.node("Transpose", [source], perm=_TO_NCHW)
        made = convolution.float_convolution(
            self.builder, channels_first, operation, operation.weight
        )
        return self.builder.node("Transpose", [made], perm=_TO_NHWC)
