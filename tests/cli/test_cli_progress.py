import io
import itertools

import pytest
from rich.console import Console

from rolekd.cli.progress import Bar, SearchProgress
from rolekd.params import SearchParams
from rolekd.search.population import Result, Slot, Task


def result(generation, member, accuracy, seconds=0.0):
    slot = Slot(generation, member)
    return Result(Task(slot, None, (0,) * 60, 0, 1, 2), 0, accuracy, 100, seconds)


def show(terminal, seconds=0.0, **console):
    text = io.StringIO()
    with SearchProgress(
        "teacher", Console(file=text, force_terminal=terminal, width=120, **console)
    ) as bar:
        bar.started(SearchParams(population=2, epochs=4, interval_epochs=2))
        for generation, accuracies in enumerate([(0.5, 0.6), (0.75, None)]):
            results = [result(generation, m, a, seconds) for m, a in enumerate(accuracies)]
            for each in results:
                bar.slot(each)
            bar.generation(results)
        bar.finished([result(1, 0, 0.75)])
    return text.getvalue()


def test_lines_where_there_is_no_terminal():
    assert show(terminal=False).splitlines() == [
        "teacher: 2 members, 2 generations of 2 epochs, pbt",
        "teacher: generation 1/2, best 60.00%, median 55.00%",
        "teacher: generation 2/2, best 75.00%, median 75.00%, 1 diverged",
        "teacher: done, member 0 wins with 75.00%",
    ]


def test_a_bar_on_a_terminal():
    shown = show(terminal=True)
    assert "4/4" in shown
    assert "\x1b[" in shown
    assert shown.endswith("\x1b[?25h") or "\x1b[?25h" in shown  # the cursor is back


def test_no_color(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    shown = show(terminal=True)
    assert "\x1b[3" not in shown.replace("\x1b[3m", "")


@pytest.fixture
def clock(monkeypatch):
    """A clock that advances by 10 s whenever it is looked at, or not at all."""

    def run(step):
        times = itertools.count(0.0, step)
        monkeypatch.setattr("rolekd.cli.progress.time.monotonic", lambda: next(times))

    return run


def test_the_pace_is_that_of_the_last_slots(clock):
    clock(10.0)  # 100 images every 10 s; two slots are left after the first generation
    assert "generation 1/2, best 60.00%, median 55.00%, 10 images/s, 0:20 left" in show(
        terminal=False, seconds=5.0
    )


def test_what_was_trained_before_this_run_has_no_pace(clock):
    clock(0.0)
    assert "images/s" not in show(terminal=False, seconds=5.0)


def read(terminal):
    text = io.StringIO()
    with Bar("photos", Console(file=text, force_terminal=terminal, width=80)) as bar:
        for done in (64, 128, 150):
            bar.show(done, 150)
    return text.getvalue()


def test_reading_of_images_is_told_every_ten_seconds_where_there_is_no_terminal(clock):
    clock(4.0)  # the bar's beginning at 0 s, then 4 s, 8 s, 12 s and, for what is said, 16 s
    assert read(terminal=False) == "photos: 150 of 150\n"
    clock(0.0)
    assert read(terminal=False) == ""


def test_reading_of_images_is_a_bar_on_a_terminal():
    shown = read(terminal=True)
    assert "photos" in shown
    assert "150/150" in shown
    assert shown.count("\x1b[?25h") == 1  # the cursor is back
