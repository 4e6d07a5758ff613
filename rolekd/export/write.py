"""Writing an integer network to an ONNX file."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rolekd import files
from rolekd.errors import InputError
from rolekd.export.builder import RUNTIME
from rolekd.export.form import CLASSES_KEY, IMAGE_KEY
from rolekd.export.graph import build
from rolekd.export.session import PAIR_KEY, RUNTIME_KEY, seal, start_session
from rolekd.params import Target
from rolekd.quantize.integer import IntegerModel


@dataclass(frozen=True)
class Summary:
    """What was written.

    Attributes:
        bytes: size of the file.
        sha256: of the file.
        forms: how each convolution runs, by module path.
        inexact: layers without an exact integer form.
    """

    bytes: int
    sha256: str
    forms: dict[str, str]
    inexact: tuple[str, ...]


def export(
    model: IntegerModel,
    path: Path | str,
    *,
    classes: Sequence[str],
    metadata: Mapping[str, str],
    target: Target = "cpu",
    resize: bool = False,
) -> Summary:
    """Write an integer network as one ONNX file; the same network gives the same bytes.

    Args:
        model: from `rolekd.quantize.lower`.
        path: of the file.
        classes: names, in the order of the logits.
        metadata: further entries for the file's metadata, such as bits, hashes and accuracy.
        target: processors for which the file is made, see `rolekd.export.graph.build`.
        resize: let the file take images of any size, see `rolekd.export.resize`.

    Raises:
        InputError: the names do not fit the logits, or a layer has no form as a graph.
    """
    graph = build(model, target, resize=resize)
    proto = graph.model
    logits = proto.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    if len(classes) != logits:
        raise InputError(f"classes: {len(classes)} names for {logits} logits; give one each")
    entries = {
        **metadata,
        CLASSES_KEY: json.dumps(list(classes)),
        IMAGE_KEY: json.dumps(model.image_shape),
        PAIR_KEY: str(graph.largest_pair),
        RUNTIME_KEY: RUNTIME,
    }
    content = seal(proto, entries)
    start_session(content, str(path))  # a graph that does not load is not an export
    files.write_bytes(path, content)
    return Summary(len(content), files.sha256(path), graph.forms, model.inexact)
