"""A small builder of ONNX graphs: nodes and constants in order, names that never meet."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

MICROSOFT = "com.microsoft"  # onnxruntime's own operators


class Builder:
    """Collects nodes and constants; the same calls give the same bytes."""

    def __init__(self) -> None:
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
        output = output or self._fresh(kind)
        self._nodes.append(
            helper.make_node(kind, inputs, [output], name=output, domain=domain, **attributes)
        )
        return output

    def split(self, source: str, parts: int) -> list[str]:
        """Append a split of the last axis into equal parts; return their names."""
        outputs = [self._fresh("Split") for _ in range(parts)]
        self._nodes.append(
            helper.make_node(
                "Split", [source], outputs, name=outputs[0], axis=-1, num_outputs=parts
            )
        )
        return outputs

    def constant(self, value: NDArray[np.generic] | np.generic) -> str:
        """Return the name of a constant; equal ones are kept once."""
        array = np.asarray(value, order="C")
        key = hashlib.sha256(array.tobytes()).hexdigest()[:16]
        name = f"{array.dtype}_{'x'.join(map(str, array.shape)) or 'scalar'}_{key}"
        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(array, name)
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

    def _fresh(self, kind: str) -> str:
        self._counts[kind] = self._counts.get(kind, 0) + 1
        return f"{kind}_{self._counts[kind]}"
