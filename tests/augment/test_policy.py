"""Policies: 60 integers, checked."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolekd.augment.ops import TABLE
from rolekd.augment.policy import LENGTH, OPERATIONS, Policy, describe, limit
from rolekd.errors import InputError


def test_order_is_that_of_the_released_files():
    assert tuple(TABLE)[: len(OPERATIONS)] == OPERATIONS
    assert OPERATIONS[0] == "Rotate"
    assert OPERATIONS[-1] == "Contrast"
    assert len(set(OPERATIONS)) == 15
    assert LENGTH == 60


def test_entries_read_pairs_copy_by_copy():
    values = list(range(10)) * 6
    entries = Policy(values).entries()
    assert len(entries) == 30
    assert entries[0] == ("Rotate", 0, 1)
    assert entries[3] == ("Brightness", 6, 7)
    assert entries[15] == ("Rotate", 0, 1)
    assert entries[29] == ("Contrast", 8, 9)


def test_describe_and_limit():
    assert describe(0) == "probability of Rotate, copy 1"
    assert describe(59) == "magnitude of Contrast, copy 2"
    assert [limit(i) for i in range(4)] == [10, 9, 10, 9]


@given(st.tuples(*(st.integers(0, limit(i)) for i in range(LENGTH))))
def test_valid_values_stay(values):
    policy = Policy(values)
    assert tuple(policy) == values
    assert policy == Policy(np.array(values))
    assert hash(policy) == hash(Policy(list(values)))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([0] * 59, "has 59 integers; give 60"),
        ([], "has 0 integers"),
        (7, "is 7, not a list"),
        ([0] * 10 + [11] + [0] * 49, r"integer 10 \(probability of Invert, copy 1\) is 11"),
        ([0] * 31 + [10] + [0] * 28, r"integer 31 \(magnitude of Rotate, copy 2\) is 10"),
        ([-1] + [0] * 59, "is -1; make it at least 0 and at most 10"),
        ([0.0] + [0] * 59, "is 0.0; make it an integer"),
        ([True] + [0] * 59, "is True"),
        (["1"] + [0] * 59, "is '1'"),
        ([None] * 60, "is None"),
    ],
)
def test_faults_are_named(values, said):
    with pytest.raises(InputError, match=said):
        Policy(values)
