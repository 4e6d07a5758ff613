"""Names of classes, arms and files are text to whatever draws or shows them, never its language."""

import html
import re
from dataclasses import replace

import numpy as np
import pytest
from comparisons import OWN, printed
from matplotlib.figure import Figure
from matplotlib.text import Text

from rolekd.augment.policy import LENGTH, Policy
from rolekd.augment.schedule import Schedule
from rolekd.params import CompareParams
from rolekd.report import costs, histories, page, plots, schedules, style, tables

NAMES = ("$^$", "cost $5 or $6", "<!--<script>", "a_b*c|d", "_hidden", "#000000", "[/b] & %s {x}")
LABELS = np.arange(140) % len(NAMES)
PASSWORD = "hush-hush"


@pytest.fixture(scope="module")
def evaluation() -> tables.Evaluation:
    """Arms with the names of classes; some predictions are wrong."""
    generator = np.random.default_rng(0)
    logits = {
        arm: 3 * np.eye(len(NAMES))[LABELS] + generator.normal(size=(2, len(LABELS), len(NAMES)))
        for arm in ("kd-rolewise", *NAMES)
    }
    # params refuse such names of arms; whatever draws them does not rely on that
    arms = CompareParams.model_construct(
        baseline="kd-rolewise", export="kd-rolewise", arms=dict.fromkeys(logits, OWN)
    )
    return tables.summarise(logits, LABELS, NAMES, arms)


ROWS = [{"epoch": "0", "accuracy": "0.5", "cross_entropy": "1"}]
SCHEDULE = Schedule(2, [(0, Policy([5] * LENGTH))])
DRAWN = {
    "accuracy": lambda found: plots.accuracy_figure(found),
    "difference": lambda found: plots.difference_figure(
        replace(found, compare=found.compare.model_copy(update={"baseline": "$^$"}))
    ),
    "calibration": lambda found: plots.calibration_figure(found, list(found.compare.arms)),
    "confusion": lambda found: plots.confusion_figure(found.arms[0], NAMES),
    "mistakes": lambda _: plots.mistakes_figure(
        np.zeros((len(LABELS), 4, 4, 1), np.uint8), LABELS, -np.eye(len(NAMES))[LABELS], NAMES
    ),
    "curves": lambda _: histories.curves_figure(dict.fromkeys(NAMES, ROWS), "accuracy", "x"),
    "search": lambda _: histories.search_figure([], NAMES[0]),
    "costs": lambda _: costs.cost_figure([costs.Cost(x, 0.5, 10, 0.1) for x in NAMES]),
    "schedules": lambda _: schedules.schedule_figure(dict.fromkeys(NAMES[:3], SCHEDULE)),
}


@pytest.mark.parametrize("name", list(DRAWN))
def test_no_text_of_a_figure_is_a_formula(name: str, evaluation: tables.Evaluation) -> None:
    figure = DRAWN[name](evaluation)
    assert isinstance(figure, Figure)
    svg = style.inline_svg(figure, NAMES[2])  # ticks are made while it is drawn
    with style.style():  # looking makes the ticks that were not drawn
        texts = [text for text in figure.findobj(Text) if isinstance(text, Text)]
    assert texts
    assert not any(text.get_parse_math() for text in texts)
    assert "<!--" not in svg
    written = [html.unescape(text).strip() for text in re.findall(r">([^<>]+)</text>", svg)]
    wanted = {
        "accuracy": NAMES, "difference": NAMES, "confusion": NAMES, "curves": NAMES,
        "costs": NAMES, "schedules": NAMES[:3], "search": NAMES[:1],
    }.get(name, ())  # fmt: skip
    assert set(wanted) <= set(written)


def test_a_figure_shows_a_long_name_cut_and_a_foreign_one_escaped() -> None:
    assert len(style.legible("x" * 300)) == 40
    assert style.legible("\x1b[31m") == r"\x1b[31m"


def test_page_shows_names_and_blanks_secrets(evaluation: tables.Evaluation) -> None:
    address = f"postgresql://ann:{PASSWORD}@host/db"
    content = page.PageContent(
        dataset=NAMES[2],
        evaluation=evaluation,
        curves=dict.fromkeys(NAMES, ROWS),
        quality={
            "images": 1,
            "warnings": [address],
            "classes": {name: {"test": 1} for name in NAMES},
        },
        model={"from": f"ann:{PASSWORD}@host/db"},
        provenance={address: {"url": f"https://h/x?token={PASSWORD}", "turned": "\u202egpj"}},
        params={"track": {"uri": address, "password": PASSWORD, "list": [address]}},
    )
    text = page.build(content)
    assert PASSWORD not in text
    assert text.count("***@host/db") >= 4
    assert "<!--" not in text
    assert "<script" not in text
    assert r"\u202egpj" in text
    shown = html.unescape(text)
    for name in NAMES:
        assert f"<td>{name}</td>" in shown


def test_terminal_shows_names(evaluation: tables.Evaluation) -> None:
    text = printed(evaluation, width=200)
    assert all(f" {name} " in text for name in NAMES)


def test_plain_page_of_schedules_escapes(tmp_path) -> None:
    text = schedules.schedule_page(dict.fromkeys(NAMES[:3], SCHEDULE))
    assert "<!--<script>" not in text
    assert html.escape(NAMES[2]) in text
