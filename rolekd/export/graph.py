"""The ONNX graph of an integer network.

Feature maps are [N, H, W, C]; levels are uint8. Every float operation before the last rounding is
elementwise or sums integers below 2^24, so the graph repeats the integer evaluation bit for bit.
"""

from dataclasses import dataclass
from typing import assert_never

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper

from rolekd.errors import InputError
from rolekd.export import convolution, maps
from rolekd.export.builder import MICROSOFT, Builder
from rolekd.export.maps import Stored
from rolekd.export.resize import to_size
from rolekd.params import Target
from rolekd.quantize import operations
from rolekd.quantize.integer import IntegerModel
from rolekd.quantize.operations import IntegerOperation

_IR_VERSIONS = {21: 10, 25: 12}  # opset -> the IR version that came with it
_UINT8_MAX = 255
_AMX_CHANNELS = 128  # from here on a product on AMX is fast enough to make up for gathering patches


@dataclass(frozen=True)
class Graph:
    """An ONNX model, and what is known of it.

    Attributes:
        model: the model.
        forms: how each convolution runs, by name.
        largest_pair: the largest sum of two products within an 8-bit convolution, in magnitude.
    """

    model: onnx.ModelProto
    forms: dict[str, str]
    largest_pair: int


def build(model: IntegerModel, target: Target = "cpu", *, resize: bool = False) -> Graph:
    """Return the ONNX form of an integer network.

    The graph maps "image", uint8 [N, H, W, C], to "logits" and "probabilities", both float32
    [N, classes]. Each map of levels is a tensor with its operation's name.

    Args:
        model: the network.
        target: "cpu": exact on every processor; "cpu-vnni": on those with AVX512-VNNI, AVX-VNNI
            or AMX, where larger multipliers fit; "cpu-amx": exact on every processor, and fast on
            those with AMX, which onnxruntime has for products and not for convolutions; "float":
            without 8-bit convolutions.
        resize: take images of any size, see `rolekd.export.resize`.
    """
    writer = _Writer(model, target)
    height, width, channels = model.image_shape
    if resize:
        writer.tensors["image"] = to_size(writer.builder, "image", (height, width), channels)
    for operation in model.operations:
        writer.write(operation)
    builder = writer.builder
    logits = builder.node("Identity", [writer.tensors[model.output]], output="logits")
    builder.node("Softmax", [logits], output="probabilities", axis=-1)
    sides = ("H", "W") if resize else (height, width)
    graph = builder.graph(
        "rolekd",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", *sides, channels])],
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
    return Graph(proto, writer.forms, builder.largest_pair)


class _Writer:
    """Writes one operation after the other; convolutions where their sums are used."""

    def __init__(self, model: IntegerModel, target: Target) -> None:
        self.builder = Builder()
        self.tensors = {"image": "image"}
        self.forms: dict[str, str] = {}
        self._target = target
        self._stored: dict[str, Stored] = {}  # maps of levels
        self._operations = {operation.name: operation for operation in model.operations}
        self._users = {
            name: [user for user in model.operations if name in user.inputs]
            for name in self._operations
        }
        blank = torch.zeros(1, *model.image_shape, dtype=torch.uint8)
        self._shapes = {name: tuple(x.shape[1:]) for name, x in model.values(blank).items()}
        self.classes = self._shapes[model.output][0]

    def write(self, operation: IntegerOperation) -> None:
        """Append the nodes of an operation."""
        sources = [self.tensors[name] for name in operation.inputs]
        match operation:
            case operations.Pixels():
                made = maps.pixels(self.builder, sources[0])
            case operations.CentredPixels():
                made = sources[0]
                zero = operation.zero
                self._stored[operation.name] = Stored(-zero, operations.WHITE - zero, 1, zero)
            case operations.Convolution() | operations.IntegerLinear():
                made = ""  # written with the operation that uses its sums
            case operations.Requantize():
                made = self._requantize(operation)
            case operations.Affine():
                made = self._affine(operation)
            case operations.AddLevels():
                made = self._add_levels(operation, *sources)
            case operations.MaxPool():
                made = self._max_pool(operation, sources[0])
            case operations.GlobalAveragePool():
                made = maps.mean(
                    self.builder, sources[0], operation, self._size(operation.inputs[0])
                )
            case operations.Relu():
                made = maps.relu(self.builder, sources[0], operation)
            case operations.HardSigmoid():
                made = maps.hard_sigmoid(self.builder, sources[0])
            case operations.HardSwish():
                gate = maps.hard_sigmoid(self.builder, sources[0])
                made = self.builder.node("Mul", [gate, sources[0]])
            case operations.Multiply():
                made = self.builder.node("Mul", sources)
            case operations.FloatConvolution():
                made = self._float_convolution(operation, sources[0])
            case operations.Flatten():
                channels_first = maps.channels_first(self.builder, sources[0])
                made = self.builder.node("Flatten", [channels_first])
            case operations.Linear():
                weight = self.builder.constant(operation.weight.numpy())
                bias = self.builder.constant(operation.bias.numpy())
                made = self.builder.node("Gemm", [sources[0], weight, bias], transB=1)
            case _:
                assert_never(operation)
        self.tensors[operation.name] = made

    def _affine(self, operation: operations.Affine) -> str:
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
        if isinstance(made, operations.Convolution):
            source = self.tensors[made.inputs[0]]
            sizes = self._size(made.inputs[0]), self._size(name)
            if self._runs_on_integers(made):
                self.forms[name] = "matmul"
                stored = self._stored[made.inputs[0]]
                return convolution.matmul(self.builder, source, made, sizes, scale, bias, stored)
            self.forms[name] = "float"
            source = self._as_float(made.inputs[0])
            x = convolution.floats(self.builder, source, made, sizes, scale)
        elif isinstance(made, operations.IntegerLinear):
            if self._target != "float":
                return self._linear(made, scale, bias)
            self.forms[name] = "float"
            x = convolution.float_linear(self.builder, self._as_float(made.inputs[0]), made, scale)
        else:
            x = self._as_float(name)
            x = self.builder.node("Mul", [x, self.builder.constant(scale)])
        return x if bias is None else self.builder.node("Add", [x, self.builder.constant(bias)])

    def _linear(
        self,
        operation: operations.IntegerLinear,
        scale: NDArray[np.float32],
        bias: NDArray[np.float32] | None,
    ) -> str:
        """Append the 8-bit form of a linear layer."""
        self.forms[operation.name] = "matmul"
        source, stored = self.tensors[operation.inputs[0]], self._stored[operation.inputs[0]]
        weights = operation.weight.numpy().T
        return convolution.product(
            self.builder, source, operation.name, weights, scale, bias, stored
        )

    def _as_float(self, name: str) -> str:
        stored = self._stored.get(name)
        made = self.tensors[name]
        return made if stored is None else maps.integers(self.builder, made, stored)

    def _size(self, name: str) -> tuple[int, int]:
        _, height, width = self._shapes[name]
        return height, width

    def _runs_on_integers(self, operation: operations.Convolution) -> bool:
        return (
            self._target != "float"
            and operation.inputs[0] in self._stored
            and operation.groups == 1
        )

    def _requantize(self, operation: operations.Requantize) -> str:
        zero = zero_point(operation)
        if operation.low + zero < 0 or operation.unit * operation.high + zero > _UINT8_MAX:
            raise InputError(
                f"layer {operation.name}: levels {operation.low} to {operation.high} do not fit 8 "
                "bits; use fewer bits"
            )
        made = self._fitted(operation) or self._quantized(operation)
        if self._is_branch(operation):
            return made
        steps = []
        if operation.low + zero > 0:
            steps.append(("Max", operation.low + zero))
        if operation.high + zero < _UINT8_MAX:
            steps.append(("Min", operation.high + zero))
        if operation.unit > 1:
            steps.append(("Mul", operation.unit))
        return self._levels(made, operation, steps)

    def _is_branch(self, operation: operations.Requantize) -> bool:
        users = self._users[operation.name]
        return len(users) == 1 and isinstance(users[0], operations.AddLevels)

    def _fitted(self, operation: operations.Requantize) -> str | None:
        """Append a convolution that rounds to levels itself, if there is one."""
        name = operation.inputs[0]
        made = self._operations[name]
        if (
            len(operation.inputs) > 1
            or not isinstance(made, operations.Convolution)
            or not self._runs_on_integers(made)
            or (self._target == "cpu-amx" and made.weight.shape[1] >= _AMX_CHANNELS)
        ):
            return None
        output = convolution.fitted(
            self.builder,
            self.tensors[made.inputs[0]],
            made,
            operation,
            stored=self._stored[made.inputs[0]],
            zero=zero_point(operation),
            pairs_fit=self._target != "cpu-vnni",
        )
        if output is not None:
            self.forms[name] = "fitted"
        return output

    def _quantized(self, operation: operations.Requantize) -> str:
        """Append float sums that are rounded to uint8 levels above a zero point."""
        zero = self.builder.constant(np.uint8(zero_point(operation)))
        one = self.builder.constant(np.float32(1))
        return self.builder.node("QuantizeLinear", [self._affine(operation), one, zero])

    def _add_levels(self, operation: operations.AddLevels, branch: str, stream: str) -> str:
        """Add unit * branch to the stream, both around their zero points; saturation clips."""
        rounded = self._operations[operation.inputs[0]]
        assert isinstance(rounded, operations.Requantize)
        zero, streams = zero_point(operation), self._stored[operation.inputs[1]].zero
        shifts = [
            self.builder.constant(np.uint8(value)) for value in (zero_point(rounded), streams, zero)
        ]
        one, unit = (self.builder.constant(np.float32(value)) for value in (1, operation.unit))
        inputs = [branch, unit, shifts[0], stream, one, shifts[1], one, shifts[2]]
        total = self.builder.node("QLinearAdd", inputs, domain=MICROSOFT)
        lowest, highest = (operation.unit * x + zero for x in (operation.low, operation.high))
        steps = [("Max", lowest)] if lowest > 0 else []
        return self._levels(
            total, operation, [*steps, ("Min", highest)] if highest < _UINT8_MAX else steps
        )

    def _levels(
        self,
        source: str,
        operation: operations.Requantize | operations.AddLevels,
        steps: list[tuple[str, int]],
    ) -> str:
        """Append uint8 arithmetic that ends in the named map of levels."""
        self._stored[operation.name] = Stored(
            operation.low, operation.high, operation.unit, zero_point(operation)
        )
        for index, (kind, operand) in enumerate(steps, start=1):
            output = operation.name if index == len(steps) else None
            constant = self.builder.constant(np.uint8(operand))
            source = self.builder.node(kind, [source, constant], output=output)
        return source if steps else self.builder.node("Identity", [source], output=operation.name)

    def _max_pool(self, operation: operations.MaxPool, source: str) -> str:
        stored = self._stored.get(operation.inputs[0])
        if stored is not None:
            self._stored[operation.name] = stored
            return self.builder.node(
                "NhwcMaxPool",
                [source],
                output=operation.name,
                domain=MICROSOFT,
                **maps.pooling(operation),
            )
        return maps.max_pool(self.builder, source, operation)

    def _float_convolution(self, operation: operations.FloatConvolution, source: str) -> str:
        self.forms[operation.name] = "inexact"
        x = maps.channels_first(self.builder, source)
        made = convolution.float_convolution(self.builder, x, operation, operation.weight)
        return maps.channels_last(self.builder, made)


def zero_point(operation: operations.Requantize | operations.AddLevels) -> int:
    """Return the uint8 value that stands for level 0."""
    return 0 if operation.low >= 0 else 128
