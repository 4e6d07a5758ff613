"""What every loss must do, as tests that a loss of your own inherits.

    class TestMine(TermContract):
        kind = Mine

Needs pytest, which the library itself does not.
"""

import copy

import pytest
import torch
from torch import Tensor, nn

from rolekd.distill.term import Batch, NetworkOutputs, Setting, Term

_CLASSES = 5
_STUDENT = ((6, 8), (8, 4), (10, 2))  # channels and side of each tap
_TEACHER = ((8, 8), (12, 4), (16, 2))


class TermContract:
    """The tests; `kind` is the class of the term."""

    kind: type[Term]

    @pytest.fixture
    def term(self) -> Term:
        """The term between a student and a teacher with other channels."""
        return self._make()

    def _make(self, seed: int = 0) -> Term:
        torch.manual_seed(seed)
        student, teacher = ([size for size, _ in taps] for taps in (_STUDENT, _TEACHER))
        return self.kind(Setting(_Teacher(), student, teacher, temperature=4.0)).train()

    def test_it_is_a_finite_scalar_that_reaches_the_student(self, term: Term) -> None:
        """A loss must move the student."""
        batch, leaves = make_batch(8)
        loss = term(batch)
        assert loss.shape == ()
        assert torch.isfinite(loss)
        loss.backward()
        assert any(leaf.grad is not None and leaf.grad.abs().max() > 0 for leaf in leaves)

    def test_the_teacher_gets_no_gradient(self, term: Term) -> None:
        """The teacher is frozen, and so is what it taught before."""
        before = copy.deepcopy(term.pretrained)
        batch, _ = make_batch(8)
        term(batch).backward()
        after = term.pretrained
        if after is not None and before is not None:
            assert not any(p.requires_grad for p in after.parameters())
            states = zip(after.state_dict().values(), before.state_dict().values(), strict=True)
            assert all(torch.equal(now, then) for now, then in states)

    @pytest.mark.parametrize("count", [1, 2])
    @pytest.mark.parametrize("maps", ["zero", "constant", "equal", "tiny", "ordinary"])
    def test_degenerate_batches_stay_finite(self, count: int, maps: str) -> None:
        """Dead and constant maps, equal singular values, a single image."""
        term = self._make().eval()  # BatchNorm does not have statistics for one image
        batch, leaves = make_batch(count, maps)
        loss = term(batch)
        assert torch.isfinite(loss)
        if loss.requires_grad:
            loss.backward()
        for leaf in leaves:
            assert leaf.grad is None or torch.isfinite(leaf.grad).all()

    def test_its_state_brings_it_back(self, term: Term) -> None:
        """Resumed trainings and copied members of a search are exact."""
        other = self._make(seed=1)
        other.load_state_dict(term.state_dict())
        losses = [float(one.eval()(make_batch(8)[0]).detach()) for one in (term, other)]
        assert losses[0] == losses[1]

    def test_the_seed_decides_how_it_starts(self) -> None:
        """Equal seeds give equal parameters."""
        states = [self._make(seed=3).state_dict().values() for _ in range(2)]
        assert all(torch.equal(*pair) for pair in zip(*states, strict=True))

    def test_what_the_teacher_teaches_first_is_learned(self, term: Term) -> None:
        """Its loss falls, and nothing else of the term changes."""
        if term.pretrained is None:
            return
        pretrained = term.pretrained.requires_grad_(True)
        rest = [p for p in term.parameters() if not any(p is q for q in pretrained.parameters())]
        batch, _ = make_batch(16)
        optimizer = torch.optim.Adam(pretrained.parameters(), lr=1e-3)
        seen = []
        for _ in range(30):
            loss = pretrained.pretraining_loss(batch.teacher)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            seen.append(float(loss.detach()))
        assert seen[-1] < 0.9 * seen[0]
        assert all(p.grad is None for p in rest)


class _Teacher(nn.Module):
    """Maps images [B, 3, 8, 8] to logits."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, _CLASSES))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layers(images)
        return logits


def make_batch(count: int, maps: str = "ordinary") -> tuple[Batch, list[Tensor]]:
    """Return a batch of `count` images and the leaves of the student's graph."""
    generator = torch.Generator().manual_seed(count)
    student = _outputs(count, _STUDENT, maps, generator)
    teacher = _outputs(count, _TEACHER, "ordinary" if maps == "tiny" else maps, generator)
    leaves = [student.logits, *student.features]
    for leaf in leaves:
        leaf.requires_grad_()
    images = torch.randn(count, 3, 8, 8, generator=generator)
    labels = torch.arange(count) % _CLASSES
    channels = zip(_STUDENT, _TEACHER, strict=True)
    torch.manual_seed(0)
    adapters = nn.ModuleList(
        [nn.Conv2d(ours, theirs, 1, bias=False) for (ours, _), (theirs, _) in channels]
    )
    return Batch(images, labels, student, teacher, adapters), leaves


def _outputs(
    count: int, taps: tuple[tuple[int, int], ...], maps: str, generator: torch.Generator
) -> NetworkOutputs:
    features = []
    for channels, side in taps:
        ordinary = torch.randn(count, channels, side, side, generator=generator).relu()
        features.append(
            {
                "ordinary": ordinary,
                "tiny": ordinary * 1e-12,
                "zero": torch.zeros_like(ordinary),
                "constant": torch.ones_like(ordinary),
                # an identity matrix, as far as it goes: all singular values are 1
                "equal": torch.eye(channels, side**2).expand(count, -1, -1).reshape_as(ordinary),
            }[maps].clone()
        )
    logits = torch.randn(count, _CLASSES, generator=generator)
    return NetworkOutputs(logits if maps == "ordinary" else torch.zeros_like(logits), features)
