"""The probe of the machine's kernels: it agrees with a file of wide sums, here and emulated."""

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from rolekd.export import selftest
from rolekd.export.selftest import KernelFault
from rolekd.export.verify import verify
from rolekd.export.write import export
from rolekd.models import build
from rolekd.quantize import IntegerModel, convert, lower

_EMULATOR = shutil.which("qemu-x86_64")
_LOAD = "import sys; from rolekd.export import load; load(sys.argv[1])"


def test_the_probe_says_whether_files_of_wide_sums_are_exact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = selftest.exact()
    monkeypatch.setattr(selftest, "exact", lambda: True)  # let the file run whatever was found
    path, images = tmp_path / "vnni.onnx", _images(64)
    assert verify(path, _for_vnni(path), images, layers=True).exact == found


@pytest.mark.skipif(
    _EMULATOR is None or platform.machine() != "x86_64", reason="needs qemu-user on x86-64"
)
@pytest.mark.parametrize(("processor", "exact"), [("Haswell", False), ("Nehalem", True)])
def test_emulated_processors(processor: str, exact: bool, tmp_path: Path) -> None:
    """Haswell has AVX2 and no VNNI; Nehalem has neither, and onnxruntime's plain kernels."""
    path = tmp_path / "vnni.onnx"
    _for_vnni(path)
    # OpenBLAS would follow this to instructions that the emulated processor lacks
    environment = {key: value for key, value in os.environ.items() if key != "OPENBLAS_CORETYPE"}
    environment["XDG_CACHE_HOME"] = str(tmp_path)
    ran = subprocess.run(
        [str(_EMULATOR), "-cpu", processor, sys.executable, "-c", _LOAD, str(path)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode == 0) == exact, ran.stderr
    assert ("InputError" in ran.stderr and "gives wrong classes" in ran.stderr) != exact


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[KernelFault]]:
    """An empty cache of its own; every time that onnxruntime is asked, what it answers."""
    answers: list[KernelFault] = []
    real = selftest._asked

    def ask() -> KernelFault:
        answers.append(real())
        return answers[-1]

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)  # no project's folder
    monkeypatch.setattr(selftest, "_asked", ask)
    selftest.probe.cache_clear()
    yield answers
    selftest.probe.cache_clear()


def test_it_is_asked_once_for_each_onnxruntime_and_processor(
    asked: list[KernelFault], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = selftest.probe()
    assert selftest.probe() is first  # of this process
    selftest.probe.cache_clear()
    assert selftest.probe() == first  # of the disk
    assert asked == [first]
    monkeypatch.setattr("onnxruntime.__version__", "9.9.9")
    selftest.probe.cache_clear()
    selftest.probe()
    assert len(asked) == 2
    monkeypatch.setattr(selftest, "_numpys_features", lambda: {"SSE2": True})
    selftest.probe.cache_clear()
    selftest.probe()
    assert len(asked) == 3
    place = tmp_path / "cache/rolekd/kernels.json"
    assert len(json.loads(place.read_text())) == 3
    for damage in ("{", "[]", '{"x": 1}'):
        place.write_text(damage)
        selftest.probe.cache_clear()
        assert selftest.probe() == first
    place.unlink()
    place.parent.rmdir()
    place.parent.write_text("no folder can be made here")
    selftest.probe.cache_clear()
    assert selftest.probe() == first


def test_a_project_keeps_it_in_its_own_folder(asked: list[KernelFault], tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text("")
    found = selftest.probe()
    selftest.probe.cache_clear()
    assert selftest.probe() == found
    assert len(asked) == 1
    assert (tmp_path / ".rolekd" / "kernels.json").exists()
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("operator", "kind", "wide"),
    [
        ("QLinearConv", np.int8, True),
        ("MatMulInteger", np.uint8, False),
        ("MatMulIntegerToFloat", np.int8, False),
    ],
)
def test_one_wrong_sum_in_one_of_many_rows_is_found(
    operator: str, kind: type, wide: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if onnxruntime had made the fault of which it is suspected."""
    real = selftest.onnxruntime.InferenceSession

    class Faulty:
        def __init__(self, *given: object, **options: object) -> None:
            self._session = real(*given, **options)

        def run(self, *given: object) -> list[np.ndarray]:
            found = self._session.run(*given)
            names = [output.name for output in self._session.get_outputs()]
            wrong = [name for name in names if name.startswith(f"{operator}_")]
            # the kinds of weights follow one another: signed, signed and wide, unsigned
            place = {(np.int8, False): 0, (np.int8, True): 1, (np.uint8, False): 2}[kind, wide]
            array = found[names.index(wrong[place + 3])]
            array.reshape(-1, array.shape[-1])[33, 0] += 1
            return found

    monkeypatch.setattr(selftest.onnxruntime, "InferenceSession", Faulty)
    found = selftest._asked()
    name = f"{operator} {'U8S8' if kind is np.int8 else 'U8U8'}"
    assert found == KernelFault((name,) if wide else (), () if wide else (name,))


@pytest.mark.parametrize("depth", [9, 100, 4608])
def test_what_is_compared_with_is_exact(depth: int) -> None:
    left = np.full((3, depth), 255, np.uint8)
    left[1:] = np.random.default_rng(0).integers(0, 256, (2, depth))
    right = np.full((depth, 2), -127, np.float32)
    right[:, 1] = np.arange(depth) % 255 - 127
    wanted = left.astype(np.int64) @ right.astype(np.int64)
    assert np.array_equal(selftest._sums(left, right), wanted)


def test_this_machine_sums_what_every_file_needs() -> None:
    """Where this fails, onnxruntime is at fault, and every file of low bits would be refused."""
    assert selftest._asked().narrow == ()


def _images(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 8, 8, 1), dtype=np.uint8)


def _for_vnni(path: Path) -> IntegerModel:
    """Export a student of two bits with the largest multipliers."""
    network = build("resnet8", classes=3, channels=1, image_size=(8, 8), width=8, seed=0)
    student = convert(network, weight_bits=2, activation_bits=2)
    student(torch.from_numpy(_images(16)).permute(0, 3, 1, 2) / 255)
    model = lower(student, mean=[0.0], std=[1.0], image_size=(8, 8))
    export(model, path, classes=list("abc"), metadata={}, target="cpu-vnni")
    return model
