"""How far a study is, in a sentence."""

import pytest

from rolekd.evidence.status import sentence


def row(name, done, seconds, failed=0):
    return {"name": name, "cells": 4, "done": done, "failed": failed, "seconds_left": seconds}


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ([row("a", 4, 0)], "4 of 4 cells done"),
        ([row("a", 4, 0, failed=1)], "4 of 4 cells done, 1 of them failed"),
        ([row("a", 0, None)], "0 of 4 cells done, time not known"),
        ([row("a", 2, 5400), row("b", 4, 0)], "6 of 8 cells done, at most 1.5 h left"),
        (
            [row("a", 2, 5400), row("b", 0, None), row("c", 0, None)],
            "2 of 12 cells done, at most 1.5 h left of a, time of b, c not known",
        ),
    ],
)
def test_what_is_left_is_told_of_the_data_it_is_known_of(rows, text):
    assert sentence({"data": rows}) == text
