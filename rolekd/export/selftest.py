"""Are this machine's 8-bit products exact? onnxruntime is tested, once per version and processor.

Two things go wrong. x86 processors without VNNI add two products of uint8 and int8 in 16 bits,
which cut off at 32767 (Intel, oneDNN's developer guide, "Nuances of int8 computations"): files
whose products are larger say so. And kernels have had faults: until March 2026 onnxruntime summed
wrongly on processors with AVX-VNNI, AVX512-VNNI and AMX, from 5 or from 32 rows on
(https://github.com/microsoft/onnxruntime/pull/27671). Which instructions are used depends on
processor, system and version, so instead of keeping a list we compare random products of every
operator that we write with numpy's.
"""

import contextlib
import hashlib
import importlib
import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper

from rolekd import files
from rolekd.errors import RolekdError
from rolekd.export.builder import MICROSOFT, Builder

LARGEST_EXACT_PAIR = 2**15 - 1  # sum of two products that every processor adds exactly
OPERATORS = frozenset({"QLinearConv", "MatMulInteger", "MatMulIntegerToFloat"})

_VERSION = 2  # of the cases below: a new version tests again
_NARROW = LARGEST_EXACT_PAIR // (2 * 255)  # the largest weight whose pairs fit
_WIDE = 127
_OUTPUTS = 25  # columns: of each sign a third, and a rest that fills no register
_ROWS = (1, 70)  # kernels differ for one row, and AMX's begin at 32
_DEPTHS = (9, 100, 576, 4608)  # products in a sum
_CHANNELS = ((1, 16), (16, 16), (3, 5), (512, 16))  # of maps, in and out
_BATCHES = {1: 6, 64: 2}  # images -> height and width of their maps
_LARGE = 512  # channels of which one image is enough
_PART = 36  # products: 36 * 255 * 127 < 2^24
_ZERO = 3  # of the maps: it is what convolutions pad with


Sums = NDArray[np.int32]
KernelKind = tuple[bool, bool]  # of weights: signed, and with pairs beyond 16 bits


@dataclass(frozen=True)
class KernelFault:
    """What is wrong on this machine.

    Attributes:
        wide: kinds of products beyond 16 bits that are not exact.
        narrow: kinds of products within 16 bits, or of unsigned weights, that are not exact.
    """

    wide: tuple[str, ...]
    narrow: tuple[str, ...]


@cache
def probe() -> KernelFault:
    """Return what is wrong here, from this user's cache if it was tested before."""
    place, key = _cache_file(), _key()
    known = _read(place) if place else {}
    if key in known:
        return known[key]
    found = _asked()
    kept = {name: [one.wide, one.narrow] for name, one in (known | {key: found}).items()}
    # if the home cannot be written, it is tested every time
    with contextlib.suppress(OSError, RolekdError):
        if place:
            files.write_json(place, kept, lasting=False)
    return found


def exact() -> bool:
    """Return whether products whose pairs leave 16 bits are summed exactly."""
    return not probe().wide


def faulty_kinds() -> tuple[str, ...]:
    """Return the kinds of products that are wrong even within 16 bits."""
    return probe().narrow


class _Cases:
    """A graph of all cases, its inputs, and what must come out."""

    def __init__(self) -> None:
        self.builder = Builder()
        self.feeds: dict[str, NDArray[np.uint8]] = {}
        self.wanted: list[tuple[str, str, bool, NDArray[np.generic]]] = []  # kind, node, wide
        self._chance = np.random.default_rng(0)
        self._drawn: dict[int, _Weights] = {}  # by depth: most of the time goes into drawing them
        self._one = self.builder.constant(np.float32(1))
        self._none = self.builder.constant(np.uint8(0))

    def add_products(self, rows: int, depth: int) -> None:
        """Add the products of matrices of a size, with weights of each kind."""
        name = f"rows{rows}x{depth}"
        left = self.feeds[name] = self._images((rows, depth))
        for (signed, wide), (weights, zero), total in self._products(left, depth):
            constant, zeros = self.builder.constant(weights), self.builder.constant(zero)
            inputs = [name, constant, self._none, zeros]
            made = self.builder.node("MatMulInteger", inputs)
            self._want("MatMulInteger", signed, wide, made, total)
            scale = np.float32(1 / 1024)  # a power of two rounds nothing
            inputs = [name, constant, self._one, self.builder.constant(scale), self._none, zeros]
            made = self.builder.node("MatMulIntegerToFloat", inputs, domain=MICROSOFT)
            self._want("MatMulIntegerToFloat", signed, wide, made, total.astype(np.float32) * scale)

    def add_convolution(self, batch: int, inputs: int, outputs: int) -> None:
        """Add 3x3 convolutions of maps; channels in fours have a kernel of their own."""
        name, side = f"maps{batch}x{inputs}", _BATCHES[batch]
        maps = self._images((batch, side, side, inputs))
        self.feeds[name] = maps
        padded = np.pad(maps, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=_ZERO)
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
        patches = windows.reshape(-1, inputs * 9).astype(np.int16) - _ZERO
        for (signed, wide), (weights, zero), whole in self._products(patches, inputs * 9):
            weights, total = weights[:, -outputs:], whole[:, -outputs:]
            scale = np.float32(100 / max(1, np.abs(total).max()))
            rounded = np.rint(total.astype(np.float32) * scale) + 128
            shaped = np.ascontiguousarray(weights.T.reshape(outputs, inputs, 3, 3))
            maps_zero, middle = (self.builder.constant(np.uint8(n)) for n in (_ZERO, 128))
            given = [name, self._one, maps_zero, self.builder.constant(shaped)]
            given += [self.builder.constant(np.full(outputs, scale, np.float32))]
            given += [self.builder.constant(np.full(outputs, zero)), self._one, middle]
            made = self.builder.node(
                "QLinearConv",
                given,
                domain=MICROSOFT,
                channels_last=1,
                kernel_shape=[3, 3],
                pads=[1, 1, 1, 1],
            )
            size = (batch, side, side, outputs)
            self._want("QLinearConv", signed, wide, made, rounded.astype(np.uint8).reshape(size))

    def _products(
        self, left: NDArray[np.generic], depth: int
    ) -> Iterator[tuple[KernelKind, tuple[NDArray[np.generic], np.generic], Sums]]:
        """Yield kinds of weights, the weights with their zero, and the sums."""
        if depth not in self._drawn:
            self._drawn[depth] = self._weights(depth)
        weights = self._drawn[depth]
        sums = _sums(left, weights.columns)
        totals = np.split(sums, len(weights.stored), axis=1)
        for (kind, stored), total in zip(weights.stored.items(), totals, strict=True):
            yield kind, stored, total

    def _want(
        self, operator: str, signed: bool, wide: bool, node: str, wanted: NDArray[np.generic]
    ) -> None:
        kind = f"{operator} U8{'S8' if signed else 'U8'}"
        self.wanted.append((kind, node, wide, wanted))

    def _images(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        return self._chance.integers(0, 256, shape, np.uint8)

    def _weights(self, depth: int) -> "_Weights":
        """Draw weights [depth, _OUTPUTS] of each kind."""
        stored: dict[KernelKind, tuple[NDArray[np.generic], np.generic]] = {}
        columns = []
        third = _OUTPUTS // 3
        for signed, wide in ((True, False), (True, True), (False, False)):
            most = _WIDE if wide or not signed else _NARROW
            used = self._chance.integers(-most, most + 1, (depth, _OUTPUTS), np.int16)
            np.abs(used[:, :third], out=used[:, :third])
            lower = used[:, third : 2 * third]
            np.negative(np.abs(lower), out=lower)
            if wide:
                used[:, -1] = most  # of these, every other pair leaves 16 bits
            kind, zero = (np.int8, 0) if signed else (np.uint8, 128)
            stored[signed, wide] = (used + zero).astype(kind), kind(zero)
            columns.append(used)
        return _Weights(stored, np.concatenate(columns, axis=1).astype(np.float32))


@dataclass(frozen=True)
class _Weights:
    """Weights of each kind, [depth, _OUTPUTS].

    Attributes:
        stored: as a kernel takes them, with their zero point.
        columns: what they stand for, side by side.
    """

    stored: dict[KernelKind, tuple[NDArray[np.generic], np.generic]]
    columns: NDArray[np.float32]


def _sums(left: NDArray[np.generic], right: NDArray[np.float32]) -> Sums:
    """Return the product of matrices, exactly.

    Parts of `_PART` products are exact in float32, which numpy has fast products of; and they are
    too few for OpenBLAS to start its threads, which wait 0.1 s for each other on a busy machine.
    """
    rows, depth = left.shape
    part = math.gcd(depth, _PART)
    lefts = left.astype(np.float32).reshape(rows, -1, part).swapaxes(0, 1)
    parts = np.matmul(lefts, right.reshape(-1, part, right.shape[1]))
    sums: Sums = parts.sum(0, dtype=np.float64).astype(np.int32)
    return sums


def _asked() -> KernelFault:
    """Run the cases and compare."""
    cases = _Cases()
    for depth in _DEPTHS:
        for rows in _ROWS:
            cases.add_products(rows, depth)
    for inputs, outputs in _CHANNELS:
        for batch in _BATCHES:
            if batch == 1 or inputs < _LARGE:
                cases.add_convolution(batch, inputs, outputs)
    builder = cases.builder
    graph = builder.graph(
        "kernels",
        [
            helper.make_tensor_value_info(name, TensorProto.UINT8, list(array.shape))
            for name, array in cases.feeds.items()
        ],
        [
            helper.make_tensor_value_info(
                node, helper.np_dtype_to_tensor_dtype(wanted.dtype), list(wanted.shape)
            )
            for _, node, _, wanted in cases.wanted
        ],
    )
    opsets = [helper.make_opsetid("", builder.opset), helper.make_opsetid(MICROSOFT, 1)]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    wrong: dict[bool, dict[str, None]] = {True: {}, False: {}}
    for (kind, _, wide, wanted), found in zip(
        cases.wanted, session.run(None, cases.feeds), strict=True
    ):
        if not np.array_equal(found, wanted):
            wrong[wide][kind] = None
    return KernelFault(tuple(wrong[True]), tuple(wrong[False]))


def _cache_file() -> Path | None:
    if Path("dvc.yaml").is_file():  # runs in a project do not keep anything outside of it
        return Path(".rolekd", "kernels.json")
    try:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # a user without a name does not have one
        return None
    return home / "rolekd" / "kernels.json"


def _key() -> str:
    """Return what decides which kernels are used: the library's build and the processor."""
    from onnxruntime.capi import onnxruntime_pybind11_state as library

    processor = ""
    for line in _lines(Path("/proc/cpuinfo")):
        if line.startswith(("model name", "flags", "Features", "CPU part")):
            processor += line
        if not line.strip() and processor:
            break
    # as this process sees it: an emulated processor shows its host's /proc/cpuinfo
    seen = sorted(name for name, there in _numpys_features().items() if there)
    size = os.stat(library.__file__).st_size  # noqa: PTH116
    told = json.dumps([_VERSION, onnxruntime.__version__, size, processor, seen])
    return hashlib.sha256(told.encode()).hexdigest()


def _numpys_features() -> dict[str, bool]:
    umath = importlib.import_module("numpy._core._multiarray_umath")
    return dict(getattr(umath, "__cpu_features__", {}))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _read(place: Path) -> dict[str, KernelFault]:
    """Return the contents of the cache, without entries that are not ours."""
    try:
        return {
            str(key): KernelFault(tuple(map(str, wide)), tuple(map(str, narrow)))
            for key, (wide, narrow) in files.read_json(place).items()
        }
    except (RolekdError, AttributeError, TypeError, ValueError):
        return {}
