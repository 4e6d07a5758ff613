"""Opening an exported network: checked before it runs."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from google.protobuf.message import DecodeError, Message
from numpy.typing import ArrayLike, NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as states

from rolekd import files
from rolekd.errors import InputError, one_line
from rolekd.export import selftest
from rolekd.export.builder import REPAIRED
from rolekd.export.form import INPUT, OUTPUTS, form

MOST_BYTES = 2**31 - 1  # of an ONNX file in one piece
HASH_KEY = "rolekd.sha256"
PAIR_KEY = "rolekd.largest_pair"
RUNTIME_KEY = "rolekd.onnxruntime"
_REFUSALS = (
    states.Fail,
    states.InvalidArgument,
    states.InvalidGraph,
    states.InvalidProtobuf,
    states.NotImplemented,
    states.RuntimeException,
)


class Session:
    """An exported network, loaded.

    Attributes:
        origin: name of the file in errors.
        metadata: class names, bits, hashes and accuracy, as `export` wrote them.
        runtime: the onnxruntime session.
        accepted_shape: (height, width, channels) of the images that it takes; None: of any size.
        image_shape: (height, width, channels) for which the network was trained.

    Raises:
        InputError: It does not take images, or its metadata do not fit it.
    """

    def __init__(
        self, runtime: onnxruntime.InferenceSession, metadata: dict[str, str], origin: str
    ) -> None:
        self.runtime, self.metadata, self.origin = runtime, metadata, origin
        found = form(runtime, metadata, origin)
        self.accepted_shape, self.image_shape = found.accepted, found.image
        self._classes = found.classes

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; a file without them is an `InputError`."""
        if self._classes is None:
            raise InputError(f"{self.origin}: does not name its classes; export it again")
        return self._classes

    def __call__(
        self, images: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Map uint8 images [N, H, W, C] to float32 logits and probabilities, [N, classes] both.

        H, W and C are those of `accepted_shape`; no images give no rows.

        Raises:
            InputError: they are not such images, or the graph does not fit together.
        """
        images = self._checked(images)
        if (
            len(images) == 0
        ):  # kernels are not made for no images, and only a run shows the number of classes
            logits, probabilities = self(np.zeros((1, *self.image_shape), np.uint8))
            return logits[:0], probabilities[:0]
        try:
            logits, probabilities = self.runtime.run(list(OUTPUTS), {INPUT: images})
        except _REFUSALS as error:  # a graph that starts may still not fit together
            raise InputError(
                f"{self.origin}: onnxruntime cannot run it ({one_line(error, 300)}); "
                "export it again"
            ) from error
        return logits, probabilities

    def _checked(self, given: ArrayLike) -> NDArray[np.uint8]:
        try:
            images = np.asarray(given)
        except ValueError:  # a list of images whose sizes differ
            images, found = np.empty(0), "of several sizes"
        else:
            found = f"{images.dtype} [{', '.join(map(str, images.shape))}]"
        fits = images.dtype == np.uint8 and images.ndim == 4
        if not fits or any(
            size == 0 or wanted not in (None, size)
            for size, wanted in zip(images.shape[1:], self.accepted_shape, strict=True)
        ):
            sizes = ", ".join("any" if size is None else str(size) for size in self.accepted_shape)
            raise InputError(
                f"images: {found}, where {self.origin} takes uint8 [N, {sizes}], values 0..255; "
                "convert or resize them"
            )
        return images


def load(
    path: Path | str, *, sha256: str | None = None, threads: int = 1, name: str | None = None
) -> Session:
    """Open an exported network.

    The model's own hash, which `seal` stored in the metadata, is always checked.

    Args:
        path: the ONNX file.
        sha256: hash that the whole file must have, if it is known.
        threads: of one run.
        name: of the file in errors; None: its path.

    Raises:
        InputError: the file is missing, damaged, changed or foreign, onnxruntime is too old, or
            it would not add the file's products exactly on this processor.
    """
    origin = name or str(path)
    content = read(path, sha256=sha256, name=origin)
    model = parse(content, origin)
    runtime = start_session(content, origin, threads=threads)
    return Session(runtime, {entry.key: entry.value for entry in model.metadata_props}, origin)


def read(path: Path | str, *, sha256: str | None = None, name: str | None = None) -> bytes:
    """Return a file's content, after checking its hash if one is given; `name` as in `load`."""
    origin = name or str(path)
    try:
        content = files.read_bytes(path, MOST_BYTES)
    except OSError as error:
        raise InputError(f"{origin}: cannot be read ({error.strerror}); export it first") from error
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise InputError(f"{origin}: its hash is not {sha256[:12]}...; fetch or export it again")
    return content


def parse(content: bytes, origin: str) -> onnx.ModelProto:
    """Check an exported file's content; `origin` names it in errors."""
    try:
        model = onnx.load_model_from_string(content)
    except DecodeError as error:
        raise InputError(f"{origin}: damaged, not an ONNX file; export it again") from error
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in _tensors(model)):
        raise InputError(f"{origin}: keeps weights in other files; export it again as one file")
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    if not _is_whole(model, metadata):
        raise InputError(
            f"{origin}: damaged or changed after its export, or not ours; export it again"
        )
    needed, present = metadata.get(RUNTIME_KEY, "0"), onnxruntime.__version__
    if _version(present) < _version(needed):
        raise InputError(
            f"{origin}: needs onnxruntime {needed}, this is {present}; install a newer one"
        )
    _check_kernels(model, metadata, origin)
    return model


def _is_whole(model: onnx.ModelProto, metadata: Mapping[str, str]) -> bool:
    return metadata.get(HASH_KEY) == _hash(model)


def _check_kernels(model: onnx.ModelProto, metadata: Mapping[str, str], origin: str) -> None:
    """Refuse a file for which this machine's 8-bit products are not exact."""
    used = selftest.OPERATORS.intersection(node.op_type for node in model.graph.node)
    if (
        wrong := [kind for kind in selftest.faulty_kinds() if kind.split()[0] in used]
        if used
        else []
    ):
        present, remedy = onnxruntime.__version__, "export it again with export.target: float"
        if _version(present) < _version(REPAIRED):
            remedy = f"install onnxruntime {REPAIRED} or newer"
        raise InputError(
            f"{origin}: onnxruntime {present} sums {wrong[0]} wrongly on this processor; {remedy}"
        )
    pair = metadata.get(PAIR_KEY, "0")  # a file of floats has none
    if not re.fullmatch(r"\d{1,18}", pair):
        raise InputError(f"{origin}: its metadata {PAIR_KEY} is not a number; export it again")
    if int(pair) > selftest.LARGEST_EXACT_PAIR and not selftest.exact():
        raise InputError(
            f"{origin}: gives wrong classes on this processor, since it is for those with VNNI; "
            "export it again with export.target: cpu"
        )


def start_session(content: bytes, origin: str, *, threads: int = 1) -> onnxruntime.InferenceSession:
    """Start onnxruntime on the CPU with a model's content."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except _REFUSALS as error:
        raise InputError(
            f"{origin}: onnxruntime refuses it ({one_line(error)}); export it again"
        ) from error


def seal(model: onnx.ModelProto, entries: Mapping[str, str]) -> bytes:
    """Set a model's metadata, and in it the hash of all the rest; return the file's content."""
    onnx.helper.set_model_props(model, dict(sorted(entries.items())))
    model.metadata_props.add(key=HASH_KEY, value=_hash(model))
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _hash(model: onnx.ModelProto) -> str:
    """Return the hex SHA-256 of a model without the entry that holds it."""
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    del bare.metadata_props[:]
    bare.metadata_props.extend(entry for entry in model.metadata_props if entry.key != HASH_KEY)
    return _digest(bare)


def _digest(message: Message) -> str:
    return hashlib.sha256(message.SerializeToString(deterministic=True)).hexdigest()


def _tensors(message: Message) -> Iterator[onnx.TensorProto]:
    """Yield every tensor in a message, wherever the format allows one."""
    if isinstance(message, onnx.TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in [value] if isinstance(value, Message) else value:
                yield from _tensors(inner)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:3] if part.isdigit())
