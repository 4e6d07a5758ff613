"""Who sits where: workers on cores and on simulated GPUs."""

import pytest
import torch

from rolekd.params import MachineParams
from rolekd.train import devices
from rolekd.train.seats import seats


@pytest.mark.parametrize(
    ("cores", "threads", "workers", "expected"),
    [
        (2, 1, 8, 8),  # as asked for, one thread each
        (2, 2, 8, 1),
        (4, 2, 8, 2),
        (1, 2, 8, 1),
        (16, 2, 8, 8),
        (8, 1, "auto", 8),
        (8, 3, "auto", 2),
        (1, 2, "auto", 1),
        (64, 1, "auto", 12),  # no more than tasks
    ],
)
def test_threads_do_not_outnumber_the_cores(monkeypatch, cores, threads, workers, expected):
    monkeypatch.setattr("rolekd.processes.cores", lambda: cores)
    machine = MachineParams(device="cpu", workers=workers)
    assert seats(machine, threads, 12) == [{}] * expected


@pytest.fixture
def gpus(monkeypatch):
    """A machine that seems to have three GPUs."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)


def _gpus(found):
    return [seat["CUDA_VISIBLE_DEVICES"] for seat in found]


@pytest.mark.parametrize(
    ("workers", "share", "expected"),
    [
        ("auto", 1, "012"),
        ("auto", 2, "012012"),
        (2, 1, "01"),
        (4, 1, "0120"),  # asked for: the first GPU has two
        (8, 2, "01201201"),
    ],
)
def test_workers_are_spread_over_the_gpus(gpus, workers, share, expected):
    machine = MachineParams(workers=workers, workers_per_gpu=share)
    assert _gpus(seats(machine, 1, 100)) == list(expected)
    assert _gpus(seats(machine, 1, 1)) == ["0"]


def test_gpus_that_the_user_hides_stay_hidden(gpus, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5, GPU-7ab")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert devices.gpus() == ["5", "GPU-7ab"]
    assert _gpus(seats(MachineParams(), 1, 9)) == ["5", "GPU-7ab"]


def test_under_torchrun_there_are_not_workers(gpus, monkeypatch):
    monkeypatch.setattr("rolekd.processes.team_size", lambda: 2)
    assert seats(MachineParams(workers=8), 1, 100) == [{}]
