"""Two processes that torchrun starts train as one does on the same batches."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchrun_training
from torch import nn
from torch.multiprocessing.spawn import spawn

from rolekd import parallel
from rolekd.errors import InputError
from rolekd.params import TrainingParams
from rolekd.train.synced import SyncedBatchNorm, synchronise
from rolekd.train.training import _check_processes

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def test_two_processes_have_the_loss_curve_of_one(tmp_path):
    (tmp_path / "two").mkdir()
    (tmp_path / "one").mkdir()
    (tmp_path / "two" / "teacher").write_bytes(b"no state: both see it, the first renames it")
    command = [*TORCHRUN, torchrun_training.__file__, str(tmp_path / "two")]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    first, second = (json.loads((tmp_path / "two" / f"{i}.json").read_text()) for i in range(2))
    assert first == second
    assert (tmp_path / "two" / "teacher.bad-1").exists()
    rows, weights = torchrun_training.histories(tmp_path / "one")
    assert len(rows) == len(first[0]) == 6
    for ours, expected in zip(first[0][2:], rows[2:], strict=True):
        assert ours == pytest.approx(expected, abs=1e-5, rel=1e-5)
    for ours, expected in zip(first[0][:2], rows[:2], strict=True):
        # a difference of rounding can put an image on another level of strength
        assert ours == pytest.approx(expected, abs=0.02, rel=0.02)
    assert first[1] == pytest.approx(weights, rel=1e-5)


def _norms(rank, folder):
    torch.distributed.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=2)
    torch.manual_seed(0)
    x, slopes = torch.randn(7, 3, 2, 2) + 5, torch.randn(7, 3, 2, 2)
    network = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU())
    if rank == 0:  # what one process does
        expected = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU())
        whole = x.clone().requires_grad_()
        (expected(whole) * slopes).sum().backward()
    synchronise(network)
    assert isinstance(network[0], SyncedBatchNorm)
    part = parallel.share(7)
    mine = x[part].clone().requires_grad_()
    y = parallel.gather(network(mine), 7)
    (y * slopes).sum().backward()
    gradients = [p.grad for p in network.parameters()]
    parallel.average(gradients)
    of_x = parallel.gather(mine.grad, 7) / 2
    if rank == 0:
        assert torch.allclose(y, expected(x), atol=1e-6)
        assert torch.allclose(of_x, whole.grad, atol=1e-5)
        for ours, theirs in zip(gradients, expected.parameters(), strict=True):
            assert torch.allclose(ours, theirs.grad, atol=1e-5)
    network(mine)  # as `expected` has seen two batches
    if rank == 0:
        for name, value in expected.state_dict().items():
            assert torch.allclose(network.state_dict()[name], value, atol=1e-6), name
        assert torch.allclose(network.eval()(x), expected.eval()(x), atol=1e-6)
    assert float(parallel.of_first(torch.tensor([rank + 5.0]))) == 5
    assert parallel.alike(3)
    assert not parallel.alike(rank)
    torch.distributed.destroy_process_group()


def test_batchnorm_and_its_gradient_are_those_of_the_whole_batch(tmp_path):
    spawn(_norms, (str(tmp_path),), nprocs=2)


def test_alone_nothing_is_exchanged():
    x = torch.ones(3)
    assert parallel.world_size() == 1
    assert parallel.gather(x, 3) is x
    assert parallel.of_first(x) is x
    assert parallel.share(5) == slice(0, 5)
    parallel.average([x])
    network = nn.Sequential(nn.BatchNorm2d(3))
    synchronise(network)
    assert type(network[0]) is nn.BatchNorm2d
    assert parallel.alike(7)


def test_what_processes_cannot_do_together_is_refused(monkeypatch):
    monkeypatch.setattr(parallel, "world_size", lambda: 2)
    with pytest.raises(InputError, match="compile: cannot be combined with torchrun"):
        _check_processes(TrainingParams(compile=True))


def test_other_stages_refuse_torchrun(tmp_path):
    environment = os.environ | {
        "TORCHELASTIC_RUN_ID": "1", "RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1",
    }  # fmt: skip
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "pipelines.prepare"]
    done = subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == "error: torchrun: stage prepare is one process; start it with python -m\n"
