"""Progress for people: a live bar on a terminal or in a notebook, otherwise occasional lines.

The code that works does not know about it: it reports to a function (`sources.prepare.OnProgress`),
to an observer (`search.observers.Observer`) or to a monitor (`train.fit.Monitor`), and the command
or stage that called it gives one of these.
"""

import statistics
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from rolekd.console import console as make_console
from rolekd.display import clock, shown
from rolekd.fleet.snapshot import Snapshot
from rolekd.params import SearchParams
from rolekd.search import phases
from rolekd.search.final import NONE_CANDIDATE
from rolekd.search.history import Found
from rolekd.search.population import SearchResult, SearchTask
from rolekd.search.spec import SearchSpec

_SECONDS = 10.0  # between the lines of a `Bar`, or of a training, where there is no terminal
_REFRESH = 0.1  # seconds between two pictures of a bar in a notebook
_PACE = 5  # epochs whose mean time predicts that of the others


class Bar:
    """Shows how many images were read; a context manager that writes to standard error."""

    def __init__(self, what: str = "images", console: Console | None = None) -> None:
        self._what = what
        self._console = console or make_console(err=True)
        self._bar = _progress(self._console)(
            *Progress.get_default_columns()[:2],
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
        )
        self._task: TaskID | None = None
        self._last = time.monotonic()

    def __enter__(self) -> Self:
        if _is_live(self._console):
            self._bar.start()
            self._task = self._bar.add_task(self._what, total=None)
        return self

    def show(self, done: int, total: int) -> None:
        """Show that `done` of `total` are read."""
        if self._task is not None:
            self._bar.update(self._task, completed=done, total=total)
        elif time.monotonic() - self._last > _SECONDS:
            self._last = time.monotonic()
            _say(self._console, self._what, f"{done} of {total}")

    def __exit__(self, *_: object) -> None:
        if self._task is not None:
            self._bar.stop()


class SearchProgress:
    """Observer that shows generation, best, median, images per second and the time left.

    Use it as a context manager, so that the terminal is restored whatever happens. Colours
    follow NO_COLOR. It writes to standard error.
    """

    def __init__(self, title: str, console: Console | None = None) -> None:
        self._title = shown(title)
        self._console = console or make_console(err=True)
        self._bar = _bars(self._console, 20)
        self._task: TaskID | None = None
        self._settings = SearchParams()
        self._whole = 0  # epochs of a training of the final
        self._begin = 0.0
        self._done: list[SearchTask] = []
        self._rungs, self._judges = 0, ""
        # arrival, images and epochs of the last tasks
        self._recent: deque[tuple[float, int, int]] = deque()
        self._scores = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def started(self, spec: SearchSpec) -> None:
        """Start the bar, or print how large the search is."""
        settings = spec.search
        self._settings, self._whole, self._begin = settings, spec.epochs, time.monotonic()
        self._done, self._rungs = [], 0
        self._judges = " judged by their students" if spec.judged_by_students else ""
        # The pace of two generations: the first tasks are slow, since libraries compile.
        self._recent = deque([(self._begin, 0, 0)], maxlen=2 * max(settings.lanes, 4) + 1)
        if _is_live(self._console):
            self._task = self._bar.add_task(self._title, total=settings.tasks, told="")
            self._bar.start()
        else:
            self._say(_size(settings))

    def result(self, result: SearchResult) -> None:
        """Advance by one task."""
        self._done.append(result.task)
        # A task reported sooner than it can be trained was done before this run.
        now = time.monotonic()
        if now - self._begin >= result.seconds > 0.0:
            self._recent.append((now, result.images_seen, result.task.epochs))
        if self._task is not None:
            told = ", ".join(filter(None, [self._scores, self._pace()]))
            self._bar.update(self._task, completed=len(self._done), told=told)

    def generation(self, results: Sequence[SearchResult]) -> None:
        """Show the scores of a generation."""
        accuracies = [result.accuracy for result in results if result.accuracy is not None]
        if results[0].task.candidate is None:
            number = results[0].task.slot.generation + 1
            self._scores = f"generation {number}/{self._settings.generations}"
        else:
            self._rungs += 1
            names = {result.task.candidate.name for result in results if result.task.candidate}
            assert self._settings.confirm is not None
            rung = f"rung {self._rungs}/{len(self._settings.confirm.rungs)}"
            self._scores = f"final, {rung}, {len(names)} candidates{self._judges}"
        if accuracies:
            self._scores += (
                f", best {max(accuracies):.2%}, median {statistics.median(accuracies):.2%}"
            )
        if diverged := len(results) - len(accuracies):
            self._scores += f", {diverged} diverged"
        if self._task is None:
            self._say(", ".join(filter(None, [self._scores, self._pace()])))

    def finished(self, found: Found) -> None:
        """Name the winner and the evidence for it."""
        self._end()
        if found.verdict is None:
            last = found.line[-1]
            number, accuracy = last.task.slot.member, last.accuracy or 0.0
            self._say(f"done, member {number} wins with {accuracy:.2%}")
            return
        winner, best = found.verdict.winner, found.verdict.best
        if best.name == NONE_CANDIDATE:
            self._say("done, no candidate changes images, so none stays")
            return
        self._say(f"done, {winner.name} wins: {best.name} is {best.evidence}")

    def _end(self) -> None:
        if self._task is not None:
            self._bar.stop()
            self._task = None

    def _pace(self) -> str:
        left = phases.epochs_left(self._settings, self._whole, self._done)
        if len(self._recent) < 2 or not left:
            return ""
        (begin, *_), *tasks = self._recent
        seconds = max(tasks[-1][0] - begin, 1e-3)
        images, epochs = (sum(column) for column in list(zip(*tasks, strict=True))[1:])
        return f"{images / seconds:,.0f} images/s, {clock(seconds / epochs * left)} left"

    def _say(self, text: str) -> None:
        _say(self._console, self._title, text)


def _size(settings: SearchParams) -> str:
    """Describe how large a search is."""
    parts = []
    if settings.lanes:
        intervals = [interval for interval, _ in settings.rounds]
        if settings.algorithm != "pbt":
            intervals = [settings.interval_epochs]
        parts.append(
            f"{settings.population} members, {settings.generations} generations of "
            f"{', '.join(map(str, intervals))} epochs, {settings.algorithm}"
        )
    if settings.confirm is not None:
        parts.append(f"a final of at most {settings.confirm.trainings} trainings")
    return "; ".join(parts)


class TaskProgress:
    """Shows the tasks of a job as any worker finishes them; a watcher of its study.

    Use it as a context manager, so that the terminal is restored whatever happens. It writes
    to standard error.
    """

    def __init__(self, title: str, console: Console | None = None) -> None:
        self._title = shown(title)
        self._console = console or make_console(err=True)
        self._bar = _bars(self._console, 20)
        self._task: TaskID | None = None
        self._done = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._task is not None:
            self._bar.stop()

    def __call__(self, snapshot: Snapshot) -> None:
        """Show how many tasks are done, if that has changed."""
        done, total = snapshot.tasks_done, snapshot.job.tasks
        if done == self._done:
            return
        self._done = done
        if not _is_live(self._console):
            _say(self._console, self._title, f"{done} of {total} tasks done")
            return
        if self._task is None:
            self._bar.start()
            self._task = self._bar.add_task(self._title, total=total, told="")
        self._bar.update(self._task, completed=done)


class StudyProgress:
    """Shows the searches and trainings of a study, one after another."""

    @contextmanager
    def search(self, title: str) -> Iterator[SearchProgress]:
        """Show a search."""
        with SearchProgress(title) as progress:
            yield progress

    @contextmanager
    def trainings(self, title: str) -> Iterator[TaskProgress]:
        """Show trainings."""
        with TaskProgress(title) as progress:
            yield progress


class TrainingProgress:
    """Monitor that shows current trainings: loss, accuracies, images per second, time left.

    On a terminal each has a bar; elsewhere each prints a line per epoch, at most one in ten
    seconds. At its end it prints what it reached. Use it as a context manager,
    so that the terminal is restored whatever happens. It writes to standard error.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or make_console(err=True)
        self.bars = _bars(self.console, 10, transient=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if _is_live(self.console):
            self.bars.stop()

    def begin(self, name: str, epochs: int) -> "_Trained":
        """Show one more training."""
        if _is_live(self.console):
            # its thread starts here: the processes that train are forked by now
            self.bars.start()
        return _Trained(self, shown(name), epochs)


class _Trained:
    """Reporter of one training."""

    def __init__(self, progress: TrainingProgress, name: str, epochs: int) -> None:
        self._progress, self._name, self._epochs = progress, name, epochs
        self._begin = self._told = time.monotonic()
        self._ends = deque([self._begin], maxlen=_PACE + 1)  # of the last epochs
        self._whole = True  # its epochs are not of an earlier call
        self._task: TaskID | None = None
        if _is_live(progress.console):
            self._task = progress.bars.add_task(name, total=epochs, told="")

    def epoch(self, metrics: Mapping[str, float], step: int) -> None:
        """Show an epoch, or what the training reached."""
        now, done = time.monotonic(), step + 1
        speed = metrics.get("images_per_second")
        if speed is None:  # of an earlier call
            self._whole = False
            self._ends.clear()
        self._ends.append(now)
        reached = f"loss {metrics['loss']:.4f}, training accuracy {metrics['accuracy']:.2%}"
        if done == self._epochs:
            self._end(reached, now)
        elif speed is not None:
            seconds = (now - self._ends[0]) / (len(self._ends) - 1)
            left = f"{clock(seconds * (self._epochs - done))} left"
            if self._task is not None:  # a narrow terminal cuts off the last parts
                told = f"{left}, {reached}, {speed:,.0f} images/s"
                self._progress.bars.update(self._task, completed=done, told=told)
            elif now - self._told >= _SECONDS:
                self._told = now
                told = f"{reached}, {speed:,.0f} images/s, {left}"
                self._say(f"epoch {done}/{self._epochs}, {told}")

    def _end(self, reached: str, now: float) -> None:
        if self._task is not None:
            self._progress.bars.remove_task(self._task)
        time_taken = f" in {clock(now - self._begin)}" if self._whole else ""
        self._say(f"{self._epochs} epochs{time_taken}, {reached}")

    def _say(self, text: str) -> None:
        _say(self._progress.console, self._name, text)


def _bars(console: Console, width: int, *, transient: bool = False) -> Progress:
    """Return counting bars, each with a text beside it, the field `told`."""
    return _progress(console)(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=width),
        MofNCompleteColumn(),
        TextColumn("{task.fields[told]}", markup=False),
        console=console,
        transient=transient,
    )


def _is_live(console: Console) -> bool:
    """Return whether shown text can be replaced."""
    return console.is_terminal or console.is_jupyter


def _progress(console: Console) -> type[Progress]:
    return _NotebookProgress if console.is_jupyter else Progress


class _NotebookProgress(Progress):
    """Bars below a notebook's cell, gone when they end; those of rich need ipywidgets."""

    _shown: Any = None  # IPython's handle of the display
    _last = 0.0

    def start(self) -> None:
        """Show the bars; called again it changes nothing."""
        from IPython.display import display

        if self._shown is None:
            self._shown = display(self, display_id=True)

    def update(self, task_id: TaskID, **values: Any) -> None:
        """Move a bar."""
        super().update(task_id, **values)
        self.refresh()

    def refresh(self) -> None:
        """Show the bars again, if the last time is long enough ago."""
        now = time.monotonic()
        if self._shown is not None and now - self._last >= _REFRESH:
            self._last = now
            self._shown.update(self)

    def stop(self) -> None:
        """Remove the bars."""
        from IPython.display import HTML

        if self._shown is not None:
            self._shown.update(HTML(""))
            self._shown = None


def _say(console: Console, title: str, text: str) -> None:
    console.print(f"{title}: {text}", markup=False, highlight=False, soft_wrap=True)
