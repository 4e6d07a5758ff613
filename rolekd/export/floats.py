"""Float networks as ONNX files, and onnxruntime's own 8-bit form of them.

A teacher is exported this way; both are the peers against which integer graphs are measured.
"""

import contextlib
import json
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rolekd import files
from rolekd.export.form import CLASSES_KEY
from rolekd.export.session import RUNTIME_KEY, seal

_OPSET, _RUNTIME = 21, "1.20.0"
_CALIBRATION_BATCH = 64


class Deployed(nn.Module):
    """A float network with its preprocessing: uint8 [N, H, W, C] -> (logits, probabilities)."""

    def __init__(self, model: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        deviation = torch.tensor(std).view(1, -1, 1, 1)
        self.model = model
        self.register_buffer("scale", 1 / (255 * deviation))
        self.register_buffer("shift", -torch.tensor(mean).view(1, -1, 1, 1) / deviation)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return float32 logits and probabilities, both [N, classes]."""
        scale, shift = self.get_buffer("scale"), self.get_buffer("shift")
        logits = self.model(image.permute(0, 3, 1, 2).float() * scale + shift)
        return logits, logits.softmax(1)


def export_float(
    model: nn.Module,
    path: Path | str,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    image_size: tuple[int, int],
    classes: Sequence[str],
    metadata: Mapping[str, str],
) -> None:
    """Write a float network in evaluation mode as one ONNX file that takes raw images."""
    deployed = Deployed(model, mean, std).eval()
    blank = torch.zeros(2, *image_size, len(mean), dtype=torch.uint8)
    with _errors_only("torch.onnx"):
        program = torch.onnx.export(
            deployed,
            (blank,),
            dynamo=True,
            verbose=False,
            opset_version=_OPSET,
            input_names=["image"],
            output_names=["logits", "probabilities"],
            dynamic_shapes={"image": {0: torch.export.Dim("N")}},
        )
    assert program is not None
    proto = _without_sources(program.model_proto)
    entries = {**metadata, CLASSES_KEY: json.dumps(list(classes)), RUNTIME_KEY: _RUNTIME}
    files.write_bytes(path, seal(proto, entries))


def quantize_statically(source: Path | str, path: Path | str, images: NDArray[np.uint8]) -> None:
    """Let onnxruntime quantise a float file to 8 bits, calibrated on uint8 images [N, H, W, C]."""
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        """Feeds the images in batches."""

        def __init__(self) -> None:
            self._batches: Iterator[NDArray[np.uint8]] = iter(
                np.array_split(images, -(-len(images) // _CALIBRATION_BATCH))
            )

        def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
            batch = next(self._batches, None)
            return None if batch is None else {"image": batch}

    with _errors_only(None), tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        with files.replacing(path) as temporary:
            quantization.quantize_static(
                str(prepared),
                str(temporary),
                Reader(),
                quant_format=quantization.QuantFormat.QDQ,
                per_channel=True,
                activation_type=quantization.QuantType.QUInt8,  # the faster one on x86
                op_types_to_quantize=["Conv", "Gemm", "MatMul", "Add", "MaxPool"],
                nodes_to_exclude=_preprocessing(prepared),
            )


def _without_sources(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Drop the exporter's stack traces, which contain the project's path."""
    for graph in (proto.graph, *proto.functions):
        for node in graph.node:
            node.ClearField("doc_string")
            node.ClearField("metadata_props")
        for value in (*graph.value_info, *getattr(graph, "input", ())):
            if hasattr(value, "metadata_props"):
                value.ClearField("metadata_props")
    return proto


@contextlib.contextmanager
def _errors_only(name: str | None) -> Iterator[None]:
    """Keep a logger, None: all that log through the root's, from warning while the block runs."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _preprocessing(path: Path) -> list[str]:
    """Return the names of the nodes before the first convolution."""
    names = []
    for node in onnx.load(path).graph.node:
        if node.op_type == "Conv":
            break
        names.append(node.name)
    return names
