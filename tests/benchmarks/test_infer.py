"""`rolekd bench infer` on a small trained pair: every figure is there and fits the others."""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from rich.console import Console

from benchmarks import infer, runtimes
from rolekd.cli.bench import bench
from rolekd.data import dataset as datasets
from rolekd.errors import InputError
from rolekd.export import measure
from rolekd.models import build
from rolekd.quantize import convert
from rolekd.train import pretrained, state

SHAPE = {"classes": 10, "channels": 1, "image_size": [8, 8]}


@pytest.fixture
def trained(tmp_path: Path) -> dict[str, Path]:
    """Weights of a float network and a student, with their data, as the stages write them."""
    images = np.random.default_rng(0).integers(0, 256, (64, 8, 8, 1), dtype=np.uint8)
    splits = {
        "search_train": np.arange(10),
        "search_val": np.arange(10, 20),
        "train": np.arange(32),
        "test": np.arange(32, 64),
    }
    classes = tuple("0123456789")
    data = datasets.assemble("noise", images, np.arange(64) % 10, classes, splits)
    datasets.save(data, tmp_path / "data")
    about = {"model": "resnet8", "width": 4, **SHAPE}
    about |= {"class_names": list(classes), "data_digest": data.digest}
    teacher = {"role": "teacher", **about, "normalization": pretrained.of_data(data)}
    network = build("resnet8", classes=10, channels=1, image_size=(8, 8), width=4, seed=0)
    student = convert(network, weight_bits=2, activation_bits=2)
    for module in (network, student):
        module(torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    state.save_weights(tmp_path / "float.safetensors", network, teacher)
    low = {"quantizer": "dorefa", "weight_bits": 2, "activation_bits": 2}
    low |= {"residual": "quantized", "overrides": {}}
    state.save_weights(
        tmp_path / "student.safetensors", student, {"role": "student", **about, **low}
    )
    return {
        "data": tmp_path / "data",
        "float_network": tmp_path / "float.safetensors",
        "student": tmp_path / "student.safetensors",
    }


def test_trained_networks_are_measured_with_their_accuracy(trained: dict[str, Path]) -> None:
    result = infer.run(seconds=0.0, batches=(1, 4), threads=(1,), openvino=False, **trained)
    names = [infer.OURS, infer.FLOAT, infer.STATIC, infer.EAGER]
    alone = [case for case in result["cases"] if case["processes"] == 1]
    assert [(case["network"], case["batch"]) for case in alone] == [
        (name, batch) for batch in (1, 4) for name in names
    ]
    assert all(0 < case["median_ms"] <= case["p95_ms"] for case in alone)
    beside = result["cases"][len(alone) :]
    assert [(case["network"], case["batch"], case["processes"]) for case in beside] == [
        (name, batch, 2) for batch in (1, 4) for name in names[:3]
    ]
    assert all(case["images_per_second"] > 0 for case in beside)
    assert result["left_out"] is None
    assert result["argmax_equal"] == result["images"] == 32
    assert [entry["network"] for entry in result["files"]] == names[:3]
    assert all(0 <= entry["test_accuracy"] <= 1 for entry in result["files"])
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(infer.table(result))
    assert "times faster" in console.export_text()


def test_the_command_prints_every_case_as_json(
    trained: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def once(calls: dict[str, Callable[[], object]], **_: float) -> dict[str, measure.Latency]:
        for call in calls.values():
            call()
        return dict.fromkeys(calls, measure.Latency(1.0, 2.0))

    monkeypatch.setattr(measure, "latencies", once)
    files = [f"--{name.replace('_', '-')}={path}" for name, path in trained.items()]
    monkeypatch.setattr(infer, "_side_by_side", lambda *_: [])
    options = ["--json", "--target=float", "--no-openvino", *files]
    told = CliRunner().invoke(bench, ["infer", *options], catch_exceptions=False)
    result = json.loads(told.stdout)
    cases = {(case["network"], case["batch"], case["threads"]) for case in result["cases"]}
    assert len(cases) == len(result["cases"]) == 4 * 3 * 2
    assert {(batch, threads) for _, batch, threads in cases} == {
        (batch, threads) for batch in (1, 8, 64) for threads in (1, 2)
    }
    assert result["target"] == "float"
    for entry in result["files"]:
        assert min(entry["bytes"], entry["load_ms"], entry["peak_megabytes"]) > 0


def test_random_weights_may_have_ends_of_8_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(infer, "_speed", lambda *_: [])
    monkeypatch.setattr(infer, "_side_by_side", lambda *_: [])
    monkeypatch.setattr(infer, "build", lambda _, **given: build("resnet8", **given | {"width": 8}))
    options = ["--json", "--ends=8", "--no-openvino"]
    told = CliRunner().invoke(bench, ["infer", *options], catch_exceptions=False)
    result = json.loads(told.stdout)
    assert result["forms"]["conv1"] != "float"
    assert result["argmax_equal"] == result["images"]


def test_a_runtime_that_is_not_installed_is_left_out_with_a_word(
    trained: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtimes.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(infer, "_side_by_side", lambda *_: [])
    result = infer.run(seconds=0.0, batches=(1,), threads=(1,), **trained)
    assert infer.OTHER not in {case["network"] for case in result["cases"]}
    assert result["left_out"].endswith("left out; `pip install openvino` measures it")
    console = Console(width=400, record=True, file=io.StringIO())
    console.print(infer.table(result))
    assert result["left_out"] in " ".join(console.export_text().split())


@pytest.mark.skipif(runtimes.absent("openvino") is not None, reason="needs openvino")
def test_openvino_runs_the_static_file(trained: dict[str, Path]) -> None:
    result = infer.run(seconds=0.0, batches=(4,), threads=(1,), **trained)
    counts = [case["processes"] for case in result["cases"] if case["network"] == infer.OTHER]
    assert counts == [1, 2]
    assert "openvino" in result["machine"]["versions"]


def test_amx_is_told_only_where_the_processor_has_it() -> None:
    if "amx_int8" not in Path("/proc/cpuinfo").read_text().split():
        assert not runtimes.amx_of_onnxruntime()
        return
    asking = (
        "import ctypes; from benchmarks.runtimes import may_use_tiles as may; before = may()\n"
        "refused = ctypes.CDLL(None).syscall(158, 0x1023, 18)\n"
        "print(before, bool(refused) != may())"
    )
    told = subprocess.run([sys.executable, "-c", asking], capture_output=True, text=True)
    assert told.stdout.split() == ["False", "True"], told.stderr


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"data": None}, "together, or none"), ({"student": "float_network"}, "that way round")],
)
def test_weights_that_do_not_belong_together(
    trained: dict[str, Path], changed: dict[str, str | None], message: str
) -> None:
    given = trained | {name: trained[key] if key else None for name, key in changed.items()}
    with pytest.raises(InputError, match=message):
        infer.run(**given)
