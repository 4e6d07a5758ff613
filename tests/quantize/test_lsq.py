"""LSQ against its formulas in numpy float64 and its gradient against the paper's equation 3."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, distributed, nn

from rolekd import parallel
from rolekd.errors import InputError
from rolekd.models import build, copy_matching
from rolekd.quantize import convert, lsq
from rolekd.quantize.dorefa import DoReFaActivation
from rolekd.quantize.lsq import LSQActivation, LSQWeight


def _sample(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def _reference(v: np.ndarray, step: float, low: int, high: int) -> np.ndarray:
    return step * np.round(np.clip(v / step, low, high))


@pytest.mark.parametrize("bits", range(1, 9))
def test_weights_follow_the_formula(bits: int) -> None:
    weight = _sample(8, 4, 3, 3)
    low, high = -(2 ** (bits - 1)), max(2 ** (bits - 1) - 1, 1)
    quantizer = LSQWeight(bits)
    actual = quantizer(weight)
    step = np.float32(2 * np.abs(weight.numpy()).mean() / math.sqrt(high))
    assert quantizer.step.item() == pytest.approx(step, rel=1e-6)
    if bits == 1:
        expected = np.where(weight.numpy() < 0, -1.0, 1.0) * quantizer.step.item()
    else:
        expected = _reference(weight.numpy(), quantizer.step.item(), low, high)
    np.testing.assert_allclose(actual.detach().numpy(), expected, rtol=0, atol=1e-12)
    integers, size = quantizer.integers(weight)
    np.testing.assert_allclose(integers.numpy() * size.item(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("bits", range(1, 9))
def test_activations_follow_the_formula(bits: int) -> None:
    x = _sample(4, 3, 5, 5).relu()
    quantizer = LSQActivation(bits)
    actual = quantizer(x)
    levels = quantizer.levels()
    assert (levels.low, levels.high) == (0, 2**bits - 1)
    expected = _reference(x.numpy(), levels.step, 0, levels.high)
    np.testing.assert_allclose(actual.detach().numpy(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_gradients_are_those_of_the_paper(bits: int) -> None:
    weight, upstream = _sample(6, 3, 3, 3).requires_grad_(), _sample(6, 3, 3, 3, seed=1)
    low, high = (-1, 1) if bits == 1 else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    quantizer = LSQWeight(bits)
    quantizer(weight).backward(upstream)
    v = weight.detach().numpy() / quantizer.step.item()
    inside = (v >= low) & (v <= high)
    rounded = np.where(v < 0, -1, 1) if bits == 1 else np.round(v)
    slope = np.where(inside, rounded - v, np.clip(rounded, low, high))
    expected = (upstream.numpy() * slope).sum() / math.sqrt(v.size * high)
    assert quantizer.step.grad is not None
    assert quantizer.step.grad.item() == pytest.approx(expected, rel=1e-5)
    assert weight.grad is not None
    np.testing.assert_allclose(weight.grad.numpy(), upstream.numpy() * inside, atol=1e-12)


def test_steps_start_once_and_travel_with_the_state() -> None:
    first, second = LSQActivation(2), LSQActivation(2)
    first(torch.full((4,), 1.0))
    before = first.step.item()
    first(torch.full((4,), 100.0))
    assert first.step.item() == before
    second.load_state_dict(first.state_dict())
    second(torch.full((4,), 100.0))
    assert second.step.item() == before


def test_a_student_starts_its_steps_from_the_copied_weights() -> None:
    def make(seed: int) -> torch.nn.Module:
        return build("resnet8", classes=3, channels=1, image_size=(8, 8), width=4, seed=seed)

    teacher = make(0)
    with torch.no_grad():
        for weight in teacher.parameters():
            weight.mul_(3)
    student = convert(make(1), weight_bits=2, activation_bits=2, quantizer="lsq")
    copy_matching(student, teacher)
    student(torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    step = student.get_parameter("stage2.0.conv1.weight_quantizer.step").item()
    wanted = 2 * teacher.get_parameter("stage2.0.conv1.weight").abs().mean().item()
    assert step == pytest.approx(wanted, rel=1e-5)


def test_a_pass_in_evaluation_mode_starts_no_step() -> None:
    def outputs(asked: bool) -> tuple[Tensor, Tensor]:
        quantizer = LSQActivation(2)
        if asked:  # as someone does who wants the shapes
            quantizer.eval()(torch.zeros(4))
            with pytest.raises(InputError, match="has not seen a batch yet; train"):
                quantizer.levels()
            quantizer.train()
        return quantizer(_sample(4, 5).float()), quantizer.step.detach()

    for plain, after in zip(outputs(False), outputs(True), strict=True):
        assert torch.equal(plain, after)
    quantizer = LSQActivation(2).eval()
    x = _sample(100).abs()
    assert len(quantizer(x).unique()) == 4  # on steps of its own


def _process(rank: int, address: str, results: str) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{address}", rank=rank, world_size=2)
    quantizer = LSQActivation(2)
    quantizer(_sample(8, 3)[4 * rank : 4 * rank + 4])
    torch.save(quantizer.step.detach(), f"{results}{rank}")
    distributed.destroy_process_group()


@pytest.mark.slow
def test_processes_start_from_the_whole_batch(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_process, (str(tmp_path / "meet"), str(tmp_path / "step")), 2)
    alone = LSQActivation(2)
    alone(_sample(8, 3))
    for rank in (0, 1):
        torch.testing.assert_close(torch.load(tmp_path / f"step{rank}"), alone.step.detach())


def _bent(bend: nn.Module) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), bend, nn.MaxPool2d(2), nn.Dropout(), nn.Conv2d(4, 2, 1)
    )


class _Sum(nn.Module):
    def __init__(self, second: nn.Module, constant: float | None = None) -> None:
        super().__init__()
        self.conv1, self.conv2, self.first = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 2, 1), nn.ReLU()
        self.second, self.constant = second, constant

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        both = self.first(x) + self.second(x)
        return self.conv2(both if self.constant is None else both + self.constant)


@pytest.mark.parametrize(
    ("model", "signed"),
    [
        (_bent(nn.ReLU()), False),
        (_bent(nn.ReLU6()), False),
        (_bent(nn.Hardswish()), True),
        (_bent(nn.BatchNorm2d(4)), True),
        (_Sum(nn.ReLU()), False),
        (_Sum(nn.Hardswish()), True),
        (_Sum(nn.ReLU(), constant=-1.0), True),
    ],
)
def test_only_inputs_that_may_be_negative_have_signed_levels(
    model: nn.Module, signed: bool
) -> None:
    converted = convert(model, weight_bits=3, activation_bits=3, quantizer="lsq")
    converted(torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    (levels,) = (m.levels() for m in converted.modules() if isinstance(m, LSQActivation))
    assert (levels.low, levels.high) == ((-4, 3) if signed else (0, 7))
    plain = convert(model, weight_bits=3, activation_bits=3)
    (levels,) = (m.levels() for m in plain.modules() if isinstance(m, DoReFaActivation))
    assert (levels.low, levels.high) == (0, 7)  # DoReFa clips at zero by its definition


@pytest.mark.parametrize("order", ["rows", "channels last", "gaps"])
@pytest.mark.parametrize(("low", "high"), [(0, 3), (-2, 1), (-8, 7), (0, 255)])
@pytest.mark.parametrize("size", [1, 7, 4096, 5000])
def test_compiled_passes_are_the_reference(low: int, high: int, order: str, size: int) -> None:
    generator = torch.Generator().manual_seed(size)
    v, upstream = (torch.randn(1, 4, size, 2, generator=generator) for _ in range(2))
    v[..., ::5] = 0
    v[..., ::7] = 0.25 * high  # at the end of the range
    if order == "channels last":
        v, upstream = (x.to(memory_format=torch.channels_last) for x in (v, upstream))
    if order == "gaps":
        v = v[:, ::2]
        upstream = upstream[:, 1::2]
    found = []
    for function, options in ((lsq._Compiled, ()), (lsq._Quantized, (False,))):
        x, step = v.clone().requires_grad_(), torch.tensor(0.25, requires_grad=True)
        y = function.apply(x, step, low, high, 1 / math.sqrt(v.numel() * high), *options)
        y.backward(upstream)
        found.append((y.detach(), x.grad, step.grad))
    (value, for_v, for_step), (wanted, wanted_v, wanted_step) = found
    assert torch.equal(value, wanted)
    assert torch.equal(for_v, wanted_v)
    scale = upstream.abs().sum().item() * max(-low, high) / math.sqrt(v.numel() * high)
    assert for_step.item() == pytest.approx(wanted_step.item(), abs=1e-6 * scale)


def test_a_step_below_zero_acts_by_its_size_and_learns_towards_it() -> None:
    v = torch.randn(64, generator=torch.Generator().manual_seed(0)).abs()
    grads = []
    for sign in (1, -1):
        quantizer = LSQActivation(2)
        quantizer.step.data.fill_(sign * 0.3)
        quantizer.get_buffer("started").fill_(True)
        y = quantizer(v)
        y.square().sum().backward()
        assert quantizer.step.grad is not None
        grads.append((y.detach(), sign * quantizer.step.grad))
    assert torch.equal(grads[0][0], grads[1][0])
    assert torch.equal(grads[0][1], grads[1][1])


def test_nan_is_not_hidden() -> None:
    v = torch.tensor([1.0, float("nan"), -1.0, float("inf")])
    quantized = lsq._Compiled.apply(v, torch.tensor(0.5), 0, 3, 1.0)
    assert quantized.isnan().tolist() == [False, True, False, False]
    assert quantized[3] == 1.5


@pytest.mark.parametrize("threads", [1, 5])
def test_many_threads_take_the_reference(threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        quantizer = LSQWeight(2)
        value = quantizer(torch.randn(8, 4, 3, 3, requires_grad=True))
    finally:
        torch.set_num_threads(before)
    assert ("Compiled" in type(value.grad_fn).__name__) == (threads == 1)


def test_the_steps_gradient_is_that_of_the_whole_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(0)).abs()

    def gradient(images: Tensor) -> Tensor:
        quantizer = LSQActivation(2)
        quantizer.get_buffer("started").fill_(True)
        quantizer(images).square().sum().backward()
        assert quantizer.step.grad is not None
        return quantizer.step.grad

    whole = gradient(x)
    monkeypatch.setattr(parallel, "world_size", lambda: 2)
    torch.testing.assert_close(gradient(x[:4]) + gradient(x[4:]), whole)
