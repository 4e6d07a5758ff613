"""`rolekd bench step` at a tiny width: every kind of step trains, and the ratios are theirs."""

import io

import pytest
import torch
from rich.console import Console

from benchmarks import step


@pytest.fixture(scope="module")
def result():
    before = torch.get_num_threads()
    yield step.run(width=2, rounds=1)
    torch.set_num_threads(before)


def test_every_step_is_compared_with_the_float_one(result):
    rows = {row["step"]: row for row in result["steps"]}
    assert rows[step.FLOAT]["ratio"] == 1
    for name in ("W2A2", "float32, bfloat16", "W2A2, bfloat16", "W2A2, soft labels"):
        expected = rows[name]["seconds"] / rows[step.FLOAT]["seconds"]
        assert rows[name]["ratio"] == pytest.approx(expected, rel=0.05)
    assert ("W2A2, ii" in rows) != ("W2A2, ii" in result.get("skipped", {}))


def test_the_share_of_batches_is_that_of_both_times(result):
    batches = result["batches"]
    expected = batches["batch_ms"] / (batches["batch_ms"] + batches["step_ms"])
    assert batches["share"] == pytest.approx(expected, abs=1e-3)


def test_the_table_shows_them(result):
    out = io.StringIO()
    Console(file=out, width=120).print(step.table(result))
    assert all(row["step"] in out.getvalue() for row in result["steps"])
    assert "Batches take" in out.getvalue()


@pytest.mark.parametrize("threads", [1, 2])
def test_every_round_runs_every_step_once(threads):
    calls = []
    steps = {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}
    found = step._interleaved(steps, 2, threads)
    assert calls == ["a", "b"] * 3
    assert found.keys() == {"a", "b"}
