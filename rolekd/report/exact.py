"""Exact tests on the images of a test split: against chance, and for two networks in pairs."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

Integers = NDArray[np.integer[Any]]
Right = NDArray[np.bool_]  # [images], whether a network gets them right


def largest_share(labels: Integers) -> float:
    """Return the accuracy, 0..1, of naming the largest class for every image."""
    return float(np.unique(labels, return_counts=True)[1].max() / len(labels))


def chance_p_value(right: Right, labels: Integers) -> float:
    """Return the one-sided p that a network is not better than naming the largest class.

    The binomial tail: how likely are that many right images, or more, if each is right with the
    share of the largest class?
    """
    hits = int(np.sum(right))
    return float(binomtest(hits, len(labels), largest_share(labels), "greater").pvalue)


def worse_p_value(right: Right, other: Right) -> float:
    """Return the one-sided p that a network is worse than another on the same images.

    McNemar's exact test: among the images that only one of them gets right, how likely is it that
    the other has so many, if both are equally good? Source: McNemar 1947, with the binomial
    distribution instead of its chi-square approximation.
    """
    lost, won = int(np.sum(other & ~right)), int(np.sum(right & ~other))
    return float(binomtest(lost, lost + won, 0.5, "greater").pvalue) if lost + won else 1.0
