"""The probe of the machine's kernels: it agrees with a file of wide sums, here and emulated."""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from rolekd.export import kernels
from rolekd.export.verify import verify
from rolekd.export.write import export
from rolekd.models import build
from rolekd.quantize import IntegerModel, convert, lower

_EMULATOR = shutil.which("qemu-x86_64")
_LOAD = "import sys; from rolekd.export import load; load(sys.argv[1])"


def test_the_probe_says_whether_files_of_wide_sums_are_exact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = kernels.exact()
    monkeypatch.setattr(kernels, "exact", lambda: True)  # let the file run whatever was found
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
    ran = subprocess.run(
        [str(_EMULATOR), "-cpu", processor, sys.executable, "-c", _LOAD, str(path)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode == 0) == exact, ran.stderr
    assert ("InputError" in ran.stderr and "gives wrong classes" in ran.stderr) != exact


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
