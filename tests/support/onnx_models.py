"""Small exported networks for the registry's tests."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from rolekd.export.session import PAIR_KEY, RUNTIME_KEY, seal


def linear_model(
    path: Path,
    dtype: int = TensorProto.UINT8,
    seed: int = 0,
    largest_pair: int = 0,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write a one-layer classifier of 8x8x1 images that looks like the deployed graph."""
    weight = np.random.default_rng(seed).normal(size=(64, 10)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
            helper.make_node("Flatten", ["float"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weight"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"]),
        ],
        "linear",
        [helper.make_tensor_value_info("image", dtype, ["N", 8, 8, 1])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 10]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 10]),
        ],
        [numpy_helper.from_array(weight, "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    classes = json.dumps([f"digit {number}" for number in range(10)])
    entries = {PAIR_KEY: str(largest_pair), RUNTIME_KEY: "1.20.0", "classes": classes}
    path.write_bytes(seal(model, {**entries, **(metadata or {})}))
    return path
