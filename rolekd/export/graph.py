"""The ONNX graph of an integer network.

Feature maps are [N, H, W, C]; levels are uint8. Every float operation before the last rounding is
elementwise or sums integers below 2^24, so the graph repeats the integer evaluation bit for bit.
"""

from dataclasses import dataclass
from typing import Any, Literal, assert_never

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper

from rolekd.errors import InputError
from rolekd.export import convolution
from rolekd.export.builder import MICROSOFT, Builder
from rolekd.quantize import integer
from rolekd.quantize.integer import IntegerModel, Operation

Target = Literal["cpu", "cpu-vnni", "float"]

_IR_VERSIONS = {21: 10, 25: 12}  # opset -> the IR version that came with it
_UINT8_MAX = 255
_TO_NCHW, _TO_NHWC = (0, 3, 1, 2), (0, 2, 3, 1)


@dataclass(frozen=True)
class Graph:
    """An ONNX model, the form of each convolution by name, and the onnxruntime it needs."""

    model: onnx.ModelProto
    forms: dict[str, str]
    runtime: str


def build(model: IntegerModel, target: Target = "cpu") -> Graph:
    """Return the ONNX form of an integer network.

    The graph maps "image", uint8 [N, H, W, C], to "logits" and "probabilities", both float32
    [N, classes]. Each map of levels is a tensor with its operation's name.

    Args:
        model: the network.
        target: "cpu": exact on every processor; "cpu-vnni": on those with AVX512-VNNI, AVX-VNNI
            or AMX, where larger multipliers fit; "float": without 8-bit convolutions.
    """
    writer = _Writer(model, target)
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
    opsets = [helper.make_opsetid("", builder.opset), helper.make_opsetid(MICROSOFT, 1)]
    proto = helper.make_model(
        graph,
        opset_imports=opsets,
        ir_version=_IR_VERSIONS[builder.opset],
        producer_name="rolekd",
    )
    return Graph(proto, writer.forms, builder.runtime)


class _Writer:
    """Writes one operation after the other; convolutions where their sums are used."""

    def __init__(self, model: IntegerModel, target: Target) -> None:
        self.builder = Builder()
        self.tensors = {"image": "image"}
        self.forms: dict[str, str] = {}
        self._target = target
        self._units: dict[str, int] = {}  # maps of uint8 levels, and what they are multiples of
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
                made = self._pixels(sources[0])
            case integer.Convolution():
                made = ""  # written where its sums are used
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

    def _pixels(self, source: str) -> str:
        pixels = convolution.as_float(self.builder, source)
        one_more = self.builder.constant(np.array([0] * 7 + [1], np.int64))
        white = self.builder.constant(np.float32(integer.WHITE))
        return self.builder.node("Pad", [pixels, one_more, white])

    def _affine(self, operation: integer.Affine) -> str:
        first, *others = (
            (name, scale.numpy())
            for name, scale in zip(operation.inputs, operation.scales, strict=True)
        )
        bias = operation.bias.numpy() if operation.bias.any() else None
        total = self._term(*first, bias)
        for other in others:
            total = self.builder.node("Add", [total, self._term(*other, None)])
        return total

    def _term(self, name: str, scale: NDArray[np.float32], bias: NDArray[np.float32] | None) -> str:
        """Append x * scale + bias of one input."""
        made = self._operations[name]
        if isinstance(made, integer.Convolution):
            source = self.tensors[made.inputs[0]]
            sizes = self._size(made.inputs[0]), self._size(name)
            if self._runs_on_integers(made):
                self.forms[name] = "matmul"
                return convolution.matmul(self.builder, source, made, sizes, scale, bias)
            self.forms[name] = "float"
            if made.inputs[0] in self._units:
                source = convolution.as_float(self.builder, source)
            x = convolution.floats(self.builder, source, made, sizes, scale)
        else:
            x = self.tensors[name]
            if name in self._units:
                x = convolution.as_float(self.builder, x)
            x = self.builder.node("Mul", [x, self.builder.constant(scale)])
        return x if bias is None else self.builder.node("Add", [x, self.builder.constant(bias)])

    def _size(self, name: str) -> tuple[int, int]:
        _, height, width = self._shapes[name]
        return height, width

    def _runs_on_integers(self, operation: integer.Convolution) -> bool:
        return (
            self._target != "float"
            and operation.inputs[0] in self._units
            and convolution.fits_8_bits(operation)
        )

    def _requantize(self, operation: integer.Requantize) -> str:
        if self._is_branch(operation):
            return self._fitted(operation) or self._quantized(operation)
        if operation.low != 0 or operation.high > _UINT8_MAX:
            raise InputError(
                f"layer {operation.name}: levels {operation.low} to {operation.high} are no uint8; "
                "use an unsigned quantiser of at most 8 bits"
            )
        made = self._fitted(operation) or self._quantized(operation)
        steps = []
        if operation.high < _UINT8_MAX:
            steps.append(("Min", operation.high))
        if operation.unit > 1:
            steps.append(("Mul", operation.unit))
        return self._levels(made, operation, steps)

    def _is_branch(self, operation: integer.Requantize) -> bool:
        users = self._users[operation.name]
        return len(users) == 1 and isinstance(users[0], integer.AddLevels)

    def _fitted(self, operation: integer.Requantize) -> str | None:
        """Append a convolution that rounds to levels itself, if there is one."""
        name = operation.inputs[0]
        made = self._operations[name]
        if (
            len(operation.inputs) > 1
            or not isinstance(made, integer.Convolution)
            or not self._runs_on_integers(made)
        ):
            return None
        output = convolution.fitted(
            self.builder,
            self.tensors[made.inputs[0]],
            made,
            operation,
            grid=self._units[made.inputs[0]],
            zero=_zero(operation),
            pairs_fit=self._target != "cpu-vnni",
        )
        if output is not None:
            self.forms[name] = "fitted"
        return output

    def _quantized(self, operation: integer.Requantize) -> str:
        """Append float sums that are rounded to uint8 levels above a zero point."""
        zero = self.builder.constant(np.uint8(_zero(operation)))
        one = self.builder.constant(np.float32(1))
        return self.builder.node("QuantizeLinear", [self._affine(operation), one, zero])

    def _add_levels(self, operation: integer.AddLevels, branch: str, stream: str) -> str:
        """Add unit * branch, around its zero point, to the stream; 8-bit saturation clips."""
        rounded = self._operations[operation.inputs[0]]
        assert isinstance(rounded, integer.Requantize)
        one, none = self.builder.constant(np.float32(1)), self.builder.constant(np.uint8(0))
        unit = self.builder.constant(np.float32(operation.unit))
        zero = self.builder.constant(np.uint8(_zero(rounded)))
        inputs = [branch, unit, zero, stream, one, none, one, none]
        total = self.builder.node("QLinearAdd", inputs, domain=MICROSOFT)
        highest = operation.unit * operation.high
        return self._levels(total, operation, [("Min", highest)] if highest < _UINT8_MAX else [])

    def _levels(
        self,
        source: str,
        operation: integer.Requantize | integer.AddLevels,
        steps: list[tuple[str, int]],
    ) -> str:
        """Append uint8 arithmetic that ends in the named map of levels."""
        self._units[operation.name] = operation.unit
        for index, (kind, operand) in enumerate(steps, start=1):
            output = operation.name if index == len(steps) else None
            constant = self.builder.constant(np.uint8(operand))
            source = self.builder.node(kind, [source, constant], output=output)
        return source if steps else self.builder.node("Identity", [source], output=operation.name)

    def _max_pool(self, operation: integer.MaxPool, source: str) -> str:
        unit = self._units.get(operation.inputs[0])
        if unit is not None:
            self._units[operation.name] = unit
            return self.builder.node(
                "NhwcMaxPool",
                [source],
                output=operation.name,
                domain=MICROSOFT,
                **_pooling(operation),
            )
        channels_first = self.builder.node("Transpose", [source], perm=_TO_NCHW)
        pooled = self.builder.node("MaxPool", [channels_first], **_pooling(operation))
        return self.builder.node("Transpose", [pooled], perm=_TO_NHWC)

    def _float_convolution(self, operation: integer.FloatConvolution, source: str) -> str:
        self.forms[operation.name] = "inexact"
        channels_first = self.builder.node("Transpose", [source], perm=_TO_NCHW)
        made = convolution.float_convolution(
            self.builder, channels_first, operation, operation.weight
        )
        return self.builder.node("Transpose", [made], perm=_TO_NHWC)


def _zero(operation: integer.Requantize) -> int:
    """Return the uint8 value that stands for level 0."""
    return 0 if operation.low >= 0 else 128


def _pooling(operation: integer.MaxPool) -> dict[str, Any]:
    return {
        "kernel_shape": operation.kernel,
        "strides": operation.stride,
        "pads": [*operation.padding, *operation.padding],
        "ceil_mode": int(operation.ceil),
    }
