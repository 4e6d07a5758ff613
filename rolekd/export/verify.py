"""Is an exported file the network that it was made from?"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from rolekd.export import session
from rolekd.export.graph import zero_point
from rolekd.quantize.integer import IntegerModel
from rolekd.quantize.operations import AddLevels, MaxPool, Requantize

_BATCH = 64


@dataclass(frozen=True)
class Verification:
    """The exported file against the integer evaluation.

    Attributes:
        images: number of images compared.
        argmax_equal: number of images on which both predict the same class.
        largest_difference: between two logits.
        logit_range: largest minus smallest logit of the integer evaluation.
        first_different: name of the first map of levels that differs anywhere; None where all
            are equal or were not asked for.
        predictions: the file's classes, int64 [N].
    """

    images: int
    argmax_equal: int
    largest_difference: float
    logit_range: float
    first_different: str | None
    predictions: NDArray[np.int64]

    @property
    def exact(self) -> bool:
        """Whether every prediction is equal and no logit is off by 1/1000 of their range."""
        return (
            self.argmax_equal == self.images
            and self.largest_difference <= 1e-3 * self.logit_range
            and self.first_different is None
        )


def verify(
    path: Path | str,
    model: IntegerModel,
    images: NDArray[np.uint8],
    *,
    layers: bool = False,
    name: str | None = None,
) -> Verification:
    """Compare an exported file with the integer evaluation.

    Args:
        path: the ONNX file.
        model: from `rolekd.quantize.lower`.
        images: uint8 [N, H, W, C].
        layers: compare every map of levels as well, not only the logits.
        name: of the file in errors; None: its path.

    Raises:
        InputError: the file cannot be loaded, see `session.load`.
    """
    content, origin = session.read(path), name or str(path)
    proto = session.parse(content, origin)
    zeros = _expose_levels(proto, model) if layers else {}
    names = list(zeros)
    runtime = session.start_session(proto.SerializeToString() if names else content, origin)
    expected, actual, different = [], [], set()
    for start in range(0, len(images), _BATCH):
        batch = images[start : start + _BATCH]
        values = model.values(batch) if layers else {model.output: model(batch)}
        logits, *levels = runtime.run(["logits", *names], {"image": batch})
        expected.append(values[model.output].numpy())
        actual.append(logits)
        for name, found in zip(names, levels, strict=True):
            wanted = values[name].movedim(1, -1).numpy()
            if not np.array_equal(found.astype(np.float32) - zeros[name], wanted):
                different.add(name)
    reference, got = np.concatenate(expected), np.concatenate(actual)
    return Verification(
        images=len(images),
        argmax_equal=int((reference.argmax(1) == got.argmax(1)).sum()),
        largest_difference=float(np.abs(reference - got).max()),
        logit_range=float(reference.max() - reference.min()),
        first_different=next((name for name in names if name in different), None),
        predictions=got.argmax(1),
    )


def _expose_levels(proto: onnx.ModelProto, model: IntegerModel) -> dict[str, int]:
    """Make the maps of levels outputs of the graph; return their zero points by name."""
    made = {output for node in proto.graph.node for output in node.output}
    zeros: dict[str, int] = {}
    for operation in model.operations:
        if operation.name not in made:
            continue
        if isinstance(operation, (Requantize, AddLevels)):
            zeros[operation.name] = zero_point(operation)
        if isinstance(operation, MaxPool):
            zeros[operation.name] = zeros[operation.inputs[0]]
    for name in zeros:
        proto.graph.output.append(
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, None)
        )
    return zeros
