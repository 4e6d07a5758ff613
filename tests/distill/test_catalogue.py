"""What a name in distill.loss stands for, and losses that installed packages declare."""

import math

import pytest
import torch
from declared import declare

from rolekd.distill import catalogue, features, logits, relations
from rolekd.distill.distillation import Distillation
from rolekd.distill.objective import EpochProgress
from rolekd.distill.term import Term
from rolekd.errors import InputError
from rolekd.models import build
from rolekd.params import DistillParams

OWN = """
import torch
from rolekd.distill.term import Term

class L1(Term):
    weight = 3.0
    companions = {"soft": 0.5}

    def forward(self, batch):
        return (batch.student.logits - batch.teacher.logits).abs().mean()

def function(setting):
    return L1(setting)
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Install a package that declares losses: name -> target."""
    return lambda losses: declare(tmp_path, monkeypatch, "rolekd.losses", losses, OWN)


def _network(seed):
    shape = {"channels": 1, "image_size": (8, 8), "classes": 3}
    return build("resnet8", **shape, width=2, seed=seed), {"model": "resnet8", **shape}


def test_every_loss_is_registered_and_named_alone_it_has_a_weight():
    classes = {
        kind
        for module in (logits, features, relations)
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Term) and kind is not Term
    }
    assert set(catalogue.LOSSES.values()) == classes
    assert all(catalogue.resolve(name).get(name) for name in catalogue.LOSSES)


def test_a_name_stands_for_what_the_paper_trains():
    assert catalogue.resolve("dkd") == {"dkd": 1.0}
    assert catalogue.resolve("at") == {"at": 10.0}
    assert catalogue.resolve("rkd") == {"rkd": 0.25}
    assert catalogue.resolve("fitnet") == {"fitnet": 1.0, "soft": 1.0}
    assert catalogue.resolve("ii") == {"mhgd": 1.0, "rkd": 1.0, "kdsvd": 1.0}


def test_weights_stand_for_themselves_and_zeros_are_left_out():
    assert catalogue.resolve({"at": 3.0, "soft": 0.0}) == {"at": 3.0}
    assert [*catalogue.resolve({"rkd": 0.1, "fitnet": 1.0})] == ["rkd", "fitnet"]


@pytest.mark.parametrize("loss", ["kdsvd", {"kdsvd": 1.0}, {"soft": 1.0, "mhgd": 0.1}, "ii"])
def test_kdsvd_and_mhgd_are_clipped_however_they_are_named(loss):
    clipped = {name for name in catalogue.resolve(loss) if catalogue.find(name).clipped}
    assert clipped == {"kdsvd", "mhgd"} & {*catalogue.resolve(loss)}
    assert clipped


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ("sotf", "distill.loss: unknown loss sotf; did you mean soft"),
        ({"soft": 0.0, "sotf": 0.0}, "distill.loss.sotf: unknown loss sotf; did you mean soft"),
        (
            {"ii": 0.5, "soft": 1.0},
            "distill.loss.ii: means {mhgd: 1, rkd: 1, kdsvd: 1}; name these instead",
        ),
        ({"rkd": 0.0}, "distill.loss: every weight is 0"),
    ],
)
def test_wrong_names_are_told_in_one_line(loss, message):
    with pytest.raises(InputError) as caught:
        catalogue.resolve(loss)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_package_of_the_user_declares_a_loss(installed):
    installed({"l1": "own:L1"})
    assert catalogue.resolve("l1") == {"l1": 3.0, "soft": 0.5}
    assert catalogue.resolve({"l1": 1.0}) == {"l1": 1.0}
    student = _network(1)
    objective = Distillation(student, _network(2), DistillParams(loss="l1"), seed=0)
    images, labels = torch.rand(4, 1, 8, 8), torch.arange(4) % 3
    losses = objective(student[0], images, labels, EpochProgress(0, 2))
    assert set(losses.parts) == {"cross_entropy", "l1", "soft"}
    expected = 0.4 * (3 * losses.parts["l1"] + 0.5 * losses.parts["soft"])
    assert math.isclose(float(losses.transfer.detach()), float(expected), rel_tol=1e-6)
    with pytest.raises(InputError, match="unknown loss l11; did you mean l1"):
        catalogue.find("l11")


@pytest.mark.parametrize(
    ("name", "target", "message"),
    [
        ("own", "own:Missing", "loss own: its entry point own:Missing does not load"),
        ("own", "absent:L1", "loss own: its entry point absent:L1 does not load"),
        ("own", "own:function", "which is not a subclass of rolekd.distill.term.Term"),
        ("own.loss", "own:L1", "a loss cannot be called own.loss; give its entry point"),
        ("accuracy", "own:L1", "a loss cannot be called accuracy"),
        ("keys", "own:L1", "a loss cannot be called keys"),
    ],
)
def test_what_a_package_declares_wrongly_is_one_line(installed, name, target, message):
    installed({name: target})
    with pytest.raises(InputError) as caught:
        catalogue.resolve(name)
    assert str(caught.value).startswith("distill.loss: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_name_of_ours_is_ours(installed):
    installed({"soft": "own:L1"})
    assert catalogue.find("soft") is logits.SoftLabels
