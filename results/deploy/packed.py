"""Can a file be both small and fast? What onnxruntime makes of packed weights when it loads them.

    python results/deploy/packed.py FILE.onnx

It lets onnxruntime write the graph that it would run, with everything folded, and counts the
weights of 8-bit kernels in both; then it loads both files in turn. It needs only onnx, onnxruntime
and numpy.
"""

import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

_LOADS = 15
_KERNELS = {"QLinearConv": 3, "MatMulIntegerToFloat": 1, "MatMulInteger": 1}  # where weights stand
_PACKED = {onnx.TensorProto.UINT2: "uint2", onnx.TensorProto.UINT4: "uint4"}


def main() -> None:
    """Print the comparison."""
    packed = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        folded = Path(folder) / "folded.onnx"
        options = _options()
        # without what depends on the processor, so that the file can be loaded again
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = str(folded)
        _start(packed, options)
        for name, path in (("as exported", packed), ("folded by onnxruntime", folded)):
            _say(f"{name}: {path.stat().st_size} bytes; {_weights(path)}")
        seconds: dict[Path, list[float]] = {packed: [], folded: []}
        for _ in range(_LOADS):
            for path, found in seconds.items():
                began = time.perf_counter()
                session = _start(path, _options())
                found.append(time.perf_counter() - began)
        loads = {path: 1000 * statistics.median(found) for path, found in seconds.items()}
        _say(f"loads in {loads[packed]:.1f} ms, folded {loads[folded]:.1f} ms")
        shape = [64 if isinstance(n, str) else n for n in session.get_inputs()[0].shape]
        images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        both = [_start(path, _options()).run(None, {"image": images})[0] for path in seconds]
        _say(f"same logits: {bool((both[0] == both[1]).all())}")


def _weights(path: Path) -> str:
    """Print how a file holds the weights of 8-bit kernels."""
    graph = onnx.load(path).graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    kinds = Counter(
        "a constant in 8 bits" if node.input[_KERNELS[node.op_type]] in constants else "computed"
        for node in graph.node
        if node.op_type in _KERNELS
    )
    stored = Counter(
        _PACKED[tensor.data_type] for tensor in constants.values() if tensor.data_type in _PACKED
    )
    return f"{len(graph.node)} nodes; weights of kernels: {dict(kinds)}; packed: {dict(stored)}"


def _options() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return options


def _start(path: Path, options: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _say(line: str) -> None:
    print(line)  # noqa: T201


if __name__ == "__main__":
    main()
