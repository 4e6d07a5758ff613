"""The fitted rounding is right for every reachable sum, by trying them all."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolekd.export.multipliers import Rounding, fit_channel


def _deployed(rounding: Rounding, multiplier: int, bias: int, scale: np.float32, sums: np.ndarray):
    """What QLinearConv and the clip after it compute, in its float32 arithmetic."""
    scaled = (multiplier * sums + bias).astype(np.float32) * scale
    return np.clip(np.rint(scaled), rounding.low, rounding.high)


def _check(rounding: Rounding, limit: int) -> bool:
    found = fit_channel(rounding, limit)
    if found is None:
        return False
    assert np.abs(found.multiplier).max() <= limit
    for channel in range(len(rounding.scale)):
        counts = np.arange(rounding.smallest[channel], rounding.largest[channel] + 1)
        sums = rounding.grid * counts
        wanted = np.clip(
            np.rint(sums.astype(np.float32) * rounding.scale[channel] + rounding.bias[channel]),
            rounding.low,
            rounding.high,
        )
        actual = _deployed(
            rounding,
            found.multiplier[channel],
            int(found.bias[channel]),
            found.scale[channel],
            sums,
        )
        np.testing.assert_array_equal(actual, wanted)
    return True


def _typical(bits: int, low: int, grid: int, channels: int = 256) -> Rounding:
    """Sums of 576 products of a trained layer: levels spread over about three deviations."""
    generator = np.random.default_rng(bits)
    high = 2**bits - 1
    deviation = np.sqrt(576) * high * high * 0.4 * grid
    scale = high / deviation * generator.uniform(0.3, 1.5, channels)
    signs = generator.choice([-1, 1], channels)
    bound = np.full(channels, 576 * high * high)
    return Rounding(
        (scale * signs).astype(np.float32),
        (generator.normal(size=channels) * high).astype(np.float32),
        low,
        high,
        -bound,
        bound,
        grid,
    )


@pytest.mark.parametrize(("bits", "grid", "limit"), [(2, 85, 21), (4, 17, 4)])
@pytest.mark.parametrize("signed", [False, True])
def test_every_channel_of_two_and_four_bits_is_fitted(
    bits: int, grid: int, limit: int, signed: bool
) -> None:
    high = 2**bits - 1
    assert _check(_typical(bits, -high if signed else 0, grid), limit)


def test_without_a_unit_some_four_bit_channels_have_no_fit() -> None:
    assert fit_channel(_typical(4, -15, 1), 8) is None


def test_constant_channels_need_no_weights() -> None:
    rounding = Rounding(
        np.array([0.0, 1e-9, -1e-9, 0.5], np.float32),
        np.array([2.2, 1.4, 100.0, -1e6], np.float32),
        0,
        3,
        np.full(4, -100),
        np.full(4, 100),
        1,
    )
    found = fit_channel(rounding, 21)
    assert found is not None
    assert not found.multiplier.any()
    assert found.bias.tolist() == [2, 1, 3, 0]
    assert _check(rounding, 21)


@settings(max_examples=60, deadline=None)
@given(
    scale=st.floats(-2, 2, width=32),
    bias=st.floats(-40, 40, width=32),
    bits=st.integers(1, 5),
    signed=st.booleans(),
    grid=st.sampled_from([1, 8, 17, 85]),
    smallest=st.integers(-300, 0),
    largest=st.integers(0, 300),
)
def test_what_is_fitted_is_right(
    scale: float, bias: float, bits: int, signed: bool, grid: int, smallest: int, largest: int
) -> None:
    high = 2**bits - 1
    _check(
        Rounding(
            np.array([scale], np.float32),
            np.array([bias], np.float32),
            -high if signed else 0,
            high,
            np.array([smallest]),
            np.array([largest]),
            grid,
        ),
        8,
    )
