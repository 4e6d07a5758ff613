"""A small builder of ONNX graphs: nodes and constants in order, with unique names."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

MICROSOFT = "com.microsoft"  # onnxruntime's own operators

# The oldest onnxruntime whose 8-bit products are right on every processor that we know: it was cut
# from the main branch after pull request 27671 (March 2026). 1.24.1 already had UINT2, and Min and
# Max of uint8.
REPAIRED = "1.25.0"
RUNTIME = REPAIRED

# widths below a byte: (ONNX type, least opset)
_PACKED = {2: (TensorProto.UINT2, 25), 4: (TensorProto.UINT4, 21)}


class Builder:
    """Collects nodes and constants; the same calls give the same bytes.

    Args:
        prefix: of all names that are made up; a subgraph needs its own.

    Attributes:
        opset: the least that has everything used so far.
        largest_pair: the largest sum of two products within an 8-bit convolution, in magnitude.
    """

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix
        self.opset = 21
        self.largest_pair = 0
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._counts: dict[str, int] = {}

    def node(
        self,
        kind: str,
        inputs: Sequence[str],
        *,
        output: str | None = None,
        domain: str = "",
        **attributes: Any,
    ) -> str:
        """Append a node of one output; return the output's name, made up unless given."""
        if output is None:
            self._counts[kind] = self._counts.get(kind, 0) + 1
            output = f"{self._prefix}{kind}_{self._counts[kind]}"
        self._nodes.append(
            helper.make_node(kind, inputs, [output], name=output, domain=domain, **attributes)
        )
        return output

    def constant(self, value: NDArray[np.generic] | np.generic) -> str:
        """Return the name of a constant; equal ones are kept once."""
        array = np.asarray(value, order="C")
        name = self._prefix + _name(array, str(array.dtype))
        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(array, name)
        return name

    def cast(self, source: str, kind: int) -> str:
        """Append a cast to a type of TensorProto."""
        return self.node("Cast", [source], to=kind)

    def packed(self, value: NDArray[np.uint8], bits: int) -> str:
        """Return the name of a constant of whole numbers that is stored in 2 or 4 bits each."""
        kind, opset = _PACKED[bits]
        self.opset = max(self.opset, opset)
        name = self._prefix + _name(value, f"uint{bits}")
        if name not in self._constants:
            per_byte = 8 // bits
            flat = np.pad(value.ravel(), (0, -value.size % per_byte)).reshape(-1, per_byte)
            shifts = bits * np.arange(per_byte, dtype=np.uint8)
            content = np.bitwise_or.reduce(flat << shifts, axis=1).astype(np.uint8).tobytes()
            self._constants[name] = helper.make_tensor(name, kind, value.shape, content, raw=True)
        return name

    def graph(
        self,
        name: str,
        inputs: Sequence[onnx.ValueInfoProto],
        outputs: Sequence[onnx.ValueInfoProto],
    ) -> onnx.GraphProto:
        """Return the finished graph."""
        return helper.make_graph(
            self._nodes, name, inputs, outputs, initializer=list(self._constants.values())
        )


def _name(array: NDArray[np.generic], kind: str) -> str:
    key = hashlib.sha256(array.tobytes()).hexdigest()[:16]
    return f"{kind}_{'x'.join(map(str, array.shape)) or 'scalar'}_{key}"
