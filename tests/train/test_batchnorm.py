"""BatchNorm statistics that are computed anew after a training."""

import numpy as np
import pytest
import torch
from torch import nn

from rolekd.data.batches import Batches, Normalize
from rolekd.distill.objective import Objective
from rolekd.files import sha256
from rolekd.params import (
    BaseAugmentParams,
    DataParams,
    ModelParams,
    StudentParams,
    TrainingParams,
)
from rolekd.sources.prepare import prepare
from rolekd.train import roles
from rolekd.train.augmentation import constant, make_engine
from rolekd.train.batchnorm import reestimate
from rolekd.train.fit import fit
from rolekd.train.training import Training

TINY = TrainingParams(epochs=2, batch_size=64, learning_rate=1e-2)
ANEW = TINY.model_copy(update={"reestimate_batchnorm": 200})  # 3 whole batches


@pytest.fixture(scope="module")
def digits():
    return prepare(DataParams(), seed=0)


def _training(digits, params, batch_size=64):
    student = StudentParams(model=ModelParams(width=4), quantizer="lsq", training=params)
    network, _ = roles.student(student, digits, 0, None)
    batches = Batches(digits, "search_train", batch_size, 0, Normalize(digits))
    augment = constant(make_engine(BaseAugmentParams(), digits, 1), None)
    return Training(network, Objective(), batches, augment, params)


def _statistics(network):
    return {k: v.clone() for k, v in network.state_dict().items() if ".running_" in k}


def _rest(network):
    left_out = (".running_", "num_batches_tracked")
    found = network.state_dict().items()
    return {k: v.clone() for k, v in found if not any(part in k for part in left_out)}


def test_statistics_are_means_over_batches_and_nothing_else_changes():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm2d(3), nn.Dropout(0.5)).eval()
    network[1].running_mean.fill_(7)
    batches = [torch.randn(n, 3, 4, 4) for n in (5, 9, 6)]
    reestimate(network, batches)
    means = torch.stack([x.mean((0, 2, 3)) for x in batches]).mean(0)
    variances = torch.stack([x.var((0, 2, 3)) for x in batches]).mean(0)
    assert torch.allclose(network[1].running_mean, means, atol=1e-6)
    assert torch.allclose(network[1].running_var, variances, atol=1e-6)
    assert network[1].momentum == 0.1
    assert not any(module.training for module in network.modules())


@pytest.mark.parametrize("options", [{}, {"ema_decay": 0.9}, {"accumulate": 2}])
def test_a_training_ends_with_statistics_of_its_final_weights(digits, tmp_path, options):
    usual, anew = (_training(digits, params.model_copy(update=options)) for params in (TINY, ANEW))
    fit(usual, tmp_path / "usual")
    fit(anew, tmp_path / "anew")
    ours, expected = _rest(anew.network), _rest(usual.network)
    assert all(torch.equal(ours[name], expected[name]) for name in expected)
    before, after = _statistics(usual.network), _statistics(anew.network)
    assert not any(torch.equal(before[name], after[name]) for name in before)
    # of three batches after the last epoch, by hand
    norm = next(m for m in anew.network.modules() if isinstance(m, nn.BatchNorm2d))
    conv = next(m for m in anew.network.modules() if isinstance(m, nn.Conv2d))
    images = list(anew._images_anew())
    assert sum(map(len, images)) <= 200
    with torch.no_grad():
        seen = [conv(x).mean((0, 2, 3)) for x in images]
    assert torch.allclose(norm.running_mean, torch.stack(seen).mean(0), atol=1e-5)


def test_more_images_than_there_are_come_from_several_passes(digits):
    training = _training(digits, TINY.model_copy(update={"reestimate_batchnorm": 64 * 20}))
    training.run_epoch()
    images = list(training._images_anew())
    assert len(images) == 20
    assert not torch.equal(images[0], images[training._batches.per_epoch])


def test_stopped_and_resumed_it_ends_in_the_same_bytes(digits, tmp_path):
    whole = _training(digits, ANEW)
    fit(whole, tmp_path / "whole")
    part = _training(digits, ANEW)
    part.run_epoch()
    part.save(tmp_path / "part")
    for _ in range(2):  # from the first epoch, and from the last
        again = _training(digits, ANEW)
        fit(again, tmp_path / "part")
        ours, expected = again.network.state_dict(), whole.network.state_dict()
        assert all(torch.equal(ours[name], expected[name]) for name in expected)
    assert sha256(tmp_path / "whole") == sha256(tmp_path / "part")
    assert all(np.isfinite(v.numpy()).all() for v in expected.values())
