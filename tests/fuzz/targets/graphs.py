"""ONNX files: `rolekd.export.session.load` and one run, on real exports of ours."""

import io
import random
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from PIL import Image

from fuzz import examples, mutations
from fuzz.harness import Case, Refused, Special
from rolekd.data.batches import Normalize
from rolekd.export import session
from rolekd.export.predict import classify
from rolekd.export.write import export
from rolekd.quantize.lower import lower
from rolekd.train import roles

FILE = "student.onnx"
SEALED = "sealed"  # beside a file whose hash was made anew, as who writes it could
IMAGE = "image.png"


def exported() -> tuple[bytes, NDArray[np.uint8]]:
    """Return the file of a student that saw one batch, and images for it."""
    torch.set_num_threads(1)
    dataset = examples.dataset()
    teacher, _ = roles.teacher(examples.TEACHER, dataset, 0)
    student, _ = roles.student(examples.STUDENT, dataset, 0, teacher)
    # LSQ's steps start from a first batch
    student(Normalize(dataset)(dataset.images[:4]))
    integers = lower(
        student.eval(), mean=dataset.mean, std=dataset.std, image_size=dataset.image_size
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / FILE
        export(integers, path, classes=dataset.classes, target="cpu", metadata={"arm": "kd"})
        return path.read_bytes(), dataset.images[:4]


class Target:
    """An exported student, damaged; also in its parts, with the hash made anew."""

    origin = FILE

    def __init__(self) -> None:
        self._whole, self._images = exported()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / FILE
            path.write_bytes(self._whole)
            self._answer = session.load(path)(self._images)[0]
        model = onnx.load_model_from_string(self._whole)
        self._entries = {one.key: one.value for one in model.metadata_props}
        self._entries.pop(session.HASH_KEY)
        content = io.BytesIO()
        Image.fromarray(self._images[0, ..., 0]).save(content, "PNG")
        self._image = content.getvalue()
        texts = {
            "no classes": {"classes": None},
            "classes of a number": {"classes": "7"},
            "classes of an object": {"classes": "{}"},
            "fewer classes": {"classes": '["cat"]'},
            "classes of controls": {"classes": '["\\u001b]0;x\\u0007", "a\\nb", "c"]'},
            "classes that nest": {"classes": "[" * 100_000},
            "a pair of a text": {session.PAIR_KEY: "x"},
            "a huge pair": {session.PAIR_KEY: "9" * 5000},
            "a later runtime": {session.RUNTIME_KEY: "99.0"},
            "a runtime of a text": {session.RUNTIME_KEY: "\x1b[31m"},
        }
        self.named: Mapping[str, Case] = {
            **{name: self._sealed(model, changes) for name, changes in texts.items()},
            "weights elsewhere": self._sealed(_elsewhere(model), {}),
            "a foreign operator": self._sealed(_foreign(model), {}),
            "no output": self._sealed(_without_output(model), {}),
            "a huge input": self._sealed(_huge_input(model), {}),
            "nothing": {FILE: b""},
            "zeros": {FILE: bytes(1000)},
            "twice": {FILE: self._whole * 2},
            "a pickle": {FILE: b"\x80\x04."},
            "a FIFO": {FILE: Special()},
            "endless": {FILE: Special("/dev/zero")},
            "a folder": {f"{FILE}/x": b""},
        }

    def _sealed(self, model: onnx.ModelProto, changes: Mapping[str, str | None]) -> Case:
        """Return a file with other metadata, where None removes a key, and the right hash."""
        changed = onnx.ModelProto()
        changed.CopyFrom(model)
        entries = {**self._entries, **changes}
        del changed.metadata_props[:]
        kept = {key: value for key, value in entries.items() if value is not None}
        return {FILE: session.seal(changed, kept), SEALED: b""}

    def case(self, chance: random.Random) -> Case:
        """Return a file, damaged."""
        if chance.random() < 0.5:
            return {FILE: mutations.in_bytes(self._whole, chance)}
        model = onnx.load_model_from_string(self._whole)
        key = chance.choice([*self._entries, "more"])
        changes = {key: chance.choice((None, *mutations.TEXTS))}
        if chance.random() < 0.7:
            _in_graph(model.graph, chance)
            changes = {}
        try:
            return self._sealed(model, changes)
        except (ValueError, TypeError, UnicodeError):  # no text that protobuf takes
            return {FILE: self._whole}

    def read(self, folder: Path) -> str:
        """Open it and run it; one whose hash was not made anew must answer as the original."""
        network = session.load(folder / FILE)
        logits, _ = network(self._images)
        if not (folder / SEALED).exists():
            assert np.array_equal(logits, self._answer), "another network, under the same hash"
        (folder / IMAGE).write_bytes(self._image)
        (found,) = classify(network, [str(folder / IMAGE)])
        if found.error:
            raise Refused(f"{FILE}: {found.error}")
        return f"{logits.tobytes().hex()} {found.label} {found.probability}"


def _in_graph(graph: onnx.GraphProto, chance: random.Random) -> None:
    """Damage one part of a graph."""
    kind = chance.randrange(5)
    node = chance.choice(graph.node)
    if kind == 0:
        graph.node.remove(node)
    elif kind == 1 and graph.initializer:
        tensor = chance.choice(graph.initializer)
        tensor.raw_data = mutations.in_bytes(tensor.raw_data, chance)
    elif kind == 2 and graph.initializer:
        tensor = chance.choice(graph.initializer)
        if tensor.dims:
            tensor.dims[chance.randrange(len(tensor.dims))] = chance.choice((0, -1, 7, 2**40))
    elif kind == 3 and node.attribute:
        attribute = chance.choice(node.attribute)
        attribute.i = chance.choice((0, -1, 3, 2**31))
        if attribute.ints:
            attribute.ints[0] = chance.choice((0, -1, 3, 2**31))
    else:
        node.op_type = chance.choice([other.op_type for other in graph.node] + ["Nothing"])


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    return changed


def _elsewhere(model: onnx.ModelProto) -> onnx.ModelProto:
    changed = _copy(model)
    tensor = changed.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    return changed


def _foreign(model: onnx.ModelProto) -> onnx.ModelProto:
    changed = _copy(model)
    changed.graph.node[0].domain = "somewhere.else"
    return changed


def _without_output(model: onnx.ModelProto) -> onnx.ModelProto:
    changed = _copy(model)
    del changed.graph.output[0]
    return changed


def _huge_input(model: onnx.ModelProto) -> onnx.ModelProto:
    changed = _copy(model)
    changed.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 2**40
    return changed
