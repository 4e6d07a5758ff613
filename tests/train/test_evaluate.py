"""What is measured of a network's predictions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax

from rolekd.train.evaluate import log_loss


def _oracle(logits, labels):
    """The least of a grid of temperatures."""
    grid = np.exp(np.linspace(-5, 10, 301))[:, None, None]
    scaled = log_softmax(logits.astype(np.float64) / grid, axis=2)
    return -scaled[:, np.arange(len(labels)), labels].mean(axis=1).max()


@given(st.integers(0, 2**32 - 1), st.integers(2, 12), st.floats(0.01, 50.0))
def test_it_is_the_least_over_temperatures(seed, classes, scale):
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, 40)
    logits = random.normal(size=(40, classes)) + 2 * np.eye(classes)[labels]
    logits = (scale * logits).astype(np.float32)
    found, least = log_loss(logits, labels), _oracle(logits, labels)
    assert (
        least - 2e-3 < found < least + 1e-4
    )  # between two temperatures of the grid it may be less


def test_how_sure_a_network_is_of_all_images_does_not_matter():
    random = np.random.default_rng(1)
    labels = random.integers(0, 5, 100)
    logits = (random.normal(size=(100, 5)) + 2 * np.eye(5)[labels]).astype(np.float32)
    assert log_loss(8 * logits, labels) == pytest.approx(log_loss(logits, labels), abs=1e-5)


def test_a_guess_costs_the_logarithm_of_the_classes_and_nothing_costs_more():
    labels = np.arange(40) % 4
    assert log_loss(np.zeros((40, 4), np.float32), labels) == pytest.approx(np.log(4))
    wrong = np.eye(4, dtype=np.float32)[(labels + 1) % 4] * 30
    assert log_loss(wrong, labels) == pytest.approx(np.log(4), abs=1e-2)
