import io
import itertools
import sys
from types import ModuleType

import pytest
from rich.console import Console

from rolekd.cli.progress import Bar, SearchProgress, TrainingProgress
from rolekd.fleet.tasks import Slot
from rolekd.params import SearchParams
from rolekd.search import final
from rolekd.search.history import Found
from rolekd.search.population import SearchResult, SearchTask
from rolekd.search.spec import SearchSpec


def result(generation, member, accuracy, seconds=0.0):
    slot = Slot(generation, member)
    return SearchResult(SearchTask(slot, None, 2, (0,) * 60, 0, 2), 0, accuracy, 100, seconds)


def spec(settings, epochs=40):
    return SearchSpec(0, "teacher", "member", settings, {}, {}, {}, epochs)


def show(terminal, seconds=0.0, **console):
    text = io.StringIO()
    with SearchProgress(
        "teacher", Console(file=text, force_terminal=terminal, width=120, **console)
    ) as bar:
        settings = SearchParams(population=2, epochs=4, interval_epochs=2, confirm=None)
        bar.started(spec(settings))
        for generation, accuracies in enumerate([(0.5, 0.6), (0.75, None)]):
            results = [result(generation, m, a, seconds) for m, a in enumerate(accuracies)]
            for each in results:
                bar.result(each)
            bar.generation(results)
        bar.finished(Found(settings, [], [result(1, 0, 0.75)], None))
    return text.getvalue()


def test_lines_where_there_is_no_terminal():
    assert show(terminal=False).splitlines() == [
        "teacher: 2 members, 2 generations of 2 epochs, pbt",
        "teacher: generation 1/2, best 60.00%, median 55.00%",
        "teacher: generation 2/2, best 75.00%, median 75.00%, 1 diverged",
        "teacher: done, member 0 wins with 75.00%",
    ]


@pytest.mark.parametrize(
    ("by", "judges"), [("teacher", ""), ("student", " judged by their students")]
)
def test_a_final_says_who_won_and_by_how_much(by, judges):
    settings = SearchParams(
        algorithm="ladder", epochs=4, interval_epochs=2, ladder=("all-3",),
        confirm={"rungs": [[3, 2]]}, teacher_by=by,
    )  # fmt: skip
    entered = final.candidates(settings, {}, [])
    rung = [
        SearchResult(task, 0, 0.5 + 0.1 * task.seed * (task.candidate.name != "none"), 100, 0.0)
        for task in final.plan(settings, entered, [], 0, 4)
    ]
    text = io.StringIO()
    with SearchProgress("student", Console(file=text, width=120)) as bar:
        bar.started(spec(settings))
        for each in rung:
            bar.result(each)
        bar.generation(rung)
        bar.finished(Found(settings, [rung], [], final.verdict(settings, [rung])))
    assert text.getvalue().splitlines() == [
        "student: a final of at most 6 trainings",
        f"student: final, rung 1/1, 2 candidates{judges}, best 60.00%, median 50.00%",
        "student: done, none wins: all-3 is +5.00 ± 5.00 points better than none over 2 seeds",
    ]


def test_the_time_left_counts_epochs_since_a_final_takes_far_more(monkeypatch):
    # 2 members x 4 epochs at a second each, then a final of 6 trainings of 40 epochs
    settings = SearchParams(
        population=2, epochs=4, interval_epochs=2, ladder=("all-3",),
        confirm={"rungs": [[4, 1], [2, 2]]},
    )  # fmt: skip
    now = itertools.count()
    monkeypatch.setattr("rolekd.cli.progress.time.monotonic", lambda: 2.0 * next(now))
    text = io.StringIO()
    with SearchProgress("teacher", Console(file=text, width=120)) as bar:
        bar.started(spec(settings))
        first = [result(0, member, 0.5, seconds=2.0) for member in range(2)]
        for each in first:
            bar.result(each)
        bar.generation(first)
    assert text.getvalue().splitlines()[-1].endswith("50 images/s, 4:04 left")  # 4 + 6 x 40


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


ROW = {"loss": 0.5, "accuracy": 0.25}
LIVE = {**ROW, "images_per_second": 1234.5}


def train(terminal, epochs=4, earlier=0, trainings=("a", "b"), row=LIVE):
    """Show trainings that report in turns; `earlier`: epochs of an earlier call."""
    text = io.StringIO()
    console = Console(file=text, force_terminal=terminal, width=120)
    with TrainingProgress(console) as progress:
        reporters = [progress.begin(name, epochs) for name in trainings]
        for epoch in range(epochs):
            for reporter in reporters:
                reporter.epoch(ROW if epoch < earlier else row, epoch)
        if terminal:
            progress.bars.refresh()
            assert not progress.bars.tasks  # none is at work
    return text.getvalue()


def test_a_training_says_a_line_every_ten_seconds_and_what_it_reached(clock):
    clock(6.0)  # begins at 0 s, epochs at 6, 12, 18, 24 s
    reached = "loss 0.5000, training accuracy 25.00%"
    assert train(terminal=False, trainings=["kd seed 0"]).splitlines() == [
        f"kd seed 0: epoch 2/4, {reached}, 1,234 images/s, 0:12 left",
        f"kd seed 0: 4 epochs in 0:24, {reached}",
    ]


def test_where_an_epoch_takes_ten_seconds_each_has_a_line(clock):
    clock(10.0)
    assert len(train(terminal=False, trainings=["a"], epochs=6).splitlines()) == 6


def test_epochs_of_an_earlier_call_are_not_told_and_have_no_pace(clock):
    clock(10.0)
    lines = train(terminal=False, trainings=["a"], earlier=2).splitlines()
    assert [line.split(",")[0] for line in lines] == ["a: epoch 3/4", "a: 4 epochs"]
    assert lines[0].endswith("0:10 left")
    # all of them
    assert train(terminal=False, trainings=["a"], earlier=4).startswith("a: 4 epochs, loss")


def test_of_trainings_at_once_each_has_a_bar_until_it_ends():
    shown = train(terminal=True, trainings=["one", "two", "three"])
    for name in ("one", "two", "three"):
        assert f"{name}: 4 epochs in 0:00, loss" in shown
        assert f"{name} " in shown
    assert shown.count("\x1b[?25h") == 1  # the cursor is back


def test_a_training_that_fails_leaves_the_terminal_in_order():
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=120)
    with pytest.raises(KeyboardInterrupt), TrainingProgress(console) as progress:
        progress.begin("a\x1b[2J", 4).epoch(LIVE, 0)
        progress.bars.refresh()
        raise KeyboardInterrupt
    shown = text.getvalue()
    assert "1/4" in shown
    assert "left, loss 0.5000, training accuracy 25.00%, 1,234 images/s" in shown
    assert r"a\x1b[2J" in shown
    assert shown.count("\x1b[?25h") == 1  # the cursor is back


class Displayed(list[str]):
    """What IPython would show: the HTML below a cell, in order; a handle replaces its own."""

    def display(self, shown, display_id=False):
        self.append(self.html(shown))
        return Handle(self, len(self) - 1) if display_id else None

    @staticmethod
    def html(shown):
        if isinstance(shown, str):
            return shown
        return shown._repr_mimebundle_((), ())["text/html"]


class Handle:
    def __init__(self, cell, place):
        self.cell, self.place, self.pictures = cell, place, 0
        cell.handle = self

    def update(self, shown):
        self.cell[self.place] = self.cell.html(shown)
        self.pictures += 1


@pytest.fixture
def cell(monkeypatch):
    found = Displayed()
    fake = ModuleType("IPython.display")
    fake.display, fake.HTML = found.display, str
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", fake)
    monkeypatch.setattr("rolekd.cli.progress._REFRESH", 0.0)
    return found


def test_in_a_notebook_a_bar_moves_and_goes_and_what_was_reached_stays(cell):
    seen = []
    with TrainingProgress(Console(force_jupyter=True)) as progress:
        told = progress.begin("teacher", 2)
        told.epoch({"loss": 1.0, "accuracy": 0.5, "images_per_second": 10.0}, 0)
        seen += cell
        told.epoch({"loss": 0.5, "accuracy": 0.75, "images_per_second": 10.0}, 1)
    (bar,) = seen
    assert "1/2" in bar
    assert "50.00%" in bar
    assert cell[0] == ""
    assert len(cell) == 2
    assert "training accuracy 75.00%" in cell[1]


def test_in_a_notebook_a_search_has_one_bar(cell):
    settings = SearchParams(population=2, epochs=4, interval_epochs=2, confirm=None)
    with SearchProgress("teacher", Console(force_jupyter=True)) as bar:
        bar.started(spec(settings))
        bar.result(result(0, 0, 0.5))
        assert "1/4" in cell[0]
        bar.finished(Found(settings, [], [result(1, 0, 0.75)], None))
    assert cell[0] == ""
    assert "done, member 0 wins with 75.00%" in cell[1]


def test_pictures_of_a_bar_are_few(cell, monkeypatch):
    monkeypatch.setattr("rolekd.cli.progress._REFRESH", 1000.0)
    with Bar(console=Console(force_jupyter=True)) as bar:
        for done in range(1000):
            bar.show(done, 1000)
        assert cell.handle.pictures <= 1
