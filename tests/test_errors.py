"""What errors are made of: one line of somebody else's, a few names of many, the nearest names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolekd.errors import did_you_mean, few, one_line, reason


@given(st.text(), st.integers(0, 40))
def test_one_line_is_one_line_and_no_longer_than_asked_for(text: str, length: int) -> None:
    whole, cut = one_line(ValueError(text)), one_line(ValueError(text), length)
    assert len(whole.splitlines()) <= 1
    assert whole.split() == text.split()
    assert cut == whole[:length]


@given(st.lists(st.text("abc", min_size=1), max_size=12), st.integers(1, 12))
def test_few_names_and_counts_all(texts: list[str], limit: int) -> None:
    named, _, rest = few(texts, limit, "|").partition(" and ")
    held = named.split("|") if named else []
    assert held == texts[:limit]
    assert rest == (f"{len(texts) - limit} more" if len(texts) > limit else "")


@pytest.mark.parametrize(
    ("output", "wanted"),
    [
        ("ERROR: unexpected error - Empty git repo\n\nHaving any troubles? Hit us up\n",
         "ERROR: unexpected error - Empty git repo"),
        ("Traceback (most recent call last):\n  File x\nsqlalchemy.exc.OperationalError: locked\n"
         "[SQL: SELECT 1]\n(Background on this error at: https://sqlalche.me/e/20/e3q8)\n",
         "sqlalchemy.exc.OperationalError: locked"),
        ("INFO x\nkilled\n", "killed"),
        ("fatal: not a git repository\n", "fatal: not a git repository"),
        ("", "no message"),
    ],
)  # fmt: skip
def test_the_line_with_the_reason_is_not_always_the_last(output: str, wanted: str) -> None:
    assert reason(output) == wanted


def test_the_nearest_names_come_first_and_else_the_choice() -> None:
    known = ("resnet8", "resnet18", "alexnet")
    assert did_you_mean("resnet81", known) == "did you mean resnet8, resnet18?"
    assert did_you_mean("vit", known) == "choose one of resnet8, resnet18, alexnet"
    assert did_you_mean("vit", known, "remove it") == "remove it"
    assert did_you_mean("serach", ["teacher", "search"]) == "did you mean search?"
    many = [f"layer{number}" for number in range(22)]
    assert did_you_mean("zzz", many).endswith("layer19 and 2 more")
