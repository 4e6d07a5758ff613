"""`rolekd bench augment`: the same work on both sides, and a result of the documented form."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from benchmarks import augment, peers

RELEASED = Path(__file__).parents[3] / "shared/data/role-kd-schedules/expanded.json"


@pytest.mark.skipif(not RELEASED.exists(), reason="the released logs are not beside the project")
def test_the_policy_is_the_released_one():
    segments = json.loads(RELEASED.read_text())["0"]
    assert list(augment.POLICY) == [policy for start, policy in segments if start <= 150][-1]


def test_engine_and_pillow_do_the_same_work():
    result = augment._compare_with_pillow(count=40)
    assert result == {"images": 40 * len(augment.CASES), "different_values": 0}


def test_images_are_varied_and_reproducible():
    images = peers.images(20, (30, 26, 3), seed=3)
    assert images.shape == (20, 30, 26, 3)
    assert len(np.unique(images)) > 200
    np.testing.assert_array_equal(images, peers.images(20, (30, 26, 3), seed=3))


def test_rates_count_whole_batches():
    assert augment.engine_rate(None, (8, 8, 1), 64, seconds=0.05) > 64


def test_medians_of_interleaved_rounds():
    values = iter([1.0, 10.0, 5.0, 30.0, 3.0, 20.0])
    todo = {"a": lambda: next(values), "b": lambda: next(values)}
    assert augment._medians(todo) == {"a": 3.0, "b": 20.0}


def text(result: dict) -> str:
    console = Console(file=io.StringIO(), width=140)
    console.print(augment.table(result))
    return " ".join(console.file.getvalue().split())


@pytest.mark.slow
def test_the_whole_bench():
    result = augment.run(seconds=0.1)
    json.dumps(result)
    assert [(case["images"], case["batch"]) for case in result["policy"]] == [
        ("32x32x3", 512),
        ("32x32x3", 10_000),
        ("28x28x1", 512),
        ("96x96x3", 512),
        ("224x224x3", 128),
    ]
    assert len(result["randaugment"]) == 2
    assert result["exact"]["different_values"] == 0
    assert result["compilation"]["later_process_seconds"] > 0
    assert result["memory"]["times_batch"] <= 3
    assert "torchvision" in result["machine"]["versions"]
    shown = text(result)
    for case in result["policy"]:
        assert f"{case['engine']:,}" in shown
        assert f"{case['times_pillow']}" in shown
