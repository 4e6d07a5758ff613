"""`rolekd bench search`: where a search's time goes, and what its validation costs.

Whole searches with the real trainer, recorded in MLflow, each in a fresh process that has imported
the trainer: the teacher's search of the default run with one worker and with two, and one at
CIFAR's size with ResNet8, without a final, whose epochs are far shorter than those of a real
search. The cost compared with the authors' loop is counted, not timed.
"""

import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.machine import describe
from rolekd import addresses, presets, yamlfiles
from rolekd.params import Params, TrackParams, parse
from rolekd.search.history import Found
from rolekd.search.population import SearchResult
from rolekd.search.spec import SearchSpec

# Images of CIFAR's shape for the second search, as many of them for training as for validation.
_CIFAR_IMAGES = 512
_CIFAR = {
    "teacher": {"model": {"name": "resnet8", "width": 64}},
    "augment": {"crop_padding": 4, "horizontal_flip": True},
    "search": {"population": 4, "epochs": 4, "interval_epochs": 1, "confirm": None},
    "compare": {"export": "kd-rolewise"},
}
_ROUNDS = 3  # of the searches of digits, with one worker and two in turns
# In units of one image's forward pass; a backward pass counts as two.
_TRAIN, _FORWARD = 3, 1
_PAPER = {"members": 16, "epochs": 200, "interval_epochs": 3, "train": 4_000, "validation": 46_000}


def run(cifar: bool = True) -> dict[str, Any]:
    """Measure; `cifar` is the longer half.

    Seconds are wall time, from the call until the result is there and MLflow has every number.
    The share of training and validation is of all of it; the overhead of a task is of what
    comes after `startup_seconds`, which a search pays once.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        digits = parse(yamlfiles.parse(presets.find("digits").text, "digits"), "digits")
        large_params = parse(_CIFAR, "the bench")
        _write_digits(digits, folder / "digits")
        rounds = [
            [
                _in_fresh_process(
                    digits, folder / "digits", folder / f"{round_}-{workers}", workers
                )
                for workers in (1, 2)
            ]
            for round_ in range(_ROUNDS)
        ]
        schedules = [row.pop("schedule") for pair in rounds for row in pair]
        ratios = [two["seconds"] / one["seconds"] for one, two in rounds]
        result = {
            "machine": describe(("torch", "optuna", "mlflow")),
            "digits, 1 worker": _median(one for one, _ in rounds),
            "digits, 2 workers": _median(two for _, two in rounds),
            "two_workers_over_one": round(statistics.median(ratios), 3),
            "two_workers_over_one_in_each_round": [round(ratio, 3) for ratio in ratios],
            "same_schedule": all(schedule == schedules[0] for schedule in schedules),
            "counted": counted(),
        }
        if cifar:
            _write_cifar(folder / "cifar")
            large = _in_fresh_process(large_params, folder / "cifar", folder / "large", 1)
            del large["schedule"]
            result["cifar size, 1 worker"] = large
    return result


def counted() -> dict[str, Any]:
    """Count the forward-equivalents of a search at the paper's settings, authors' and ours.

    The authors' loop validates every member after every epoch, ours once per interval. A student
    search runs the teacher forward on every training batch besides, counted at the student's
    size (in the paper both are ResNet18).
    """
    paper = _PAPER
    intervals = -(-paper["epochs"] // paper["interval_epochs"])
    found: dict[str, Any] = {"settings": dict(paper)}
    for role, per_image in (("teacher", _TRAIN), ("student", _TRAIN + _FORWARD)):
        training = paper["members"] * paper["epochs"] * paper["train"] * per_image
        once = paper["members"] * paper["validation"] * _FORWARD
        theirs, ours = training + paper["epochs"] * once, training + intervals * once
        found[role] = {
            "authors": theirs,
            "ours": ours,
            "authors_share_of_validation": round(1 - training / theirs, 3),
            "ours_share_of_validation": round(1 - training / ours, 3),
            "authors_over_ours": round(theirs / ours, 2),
        }
    return found


def table(result: dict[str, Any]) -> Table:
    """Show a result to people."""
    shown = Table(
        "search", "tasks", "seconds", "training, validation", "start", "overhead per task"
    )
    for name, row in result.items():
        if isinstance(row, dict) and "share_busy" in row:
            shown.add_row(
                name,
                str(row["slots"]),
                f"{row['seconds']:.1f}",
                f"{row['share_busy']:.1%}",
                f"{row['startup_seconds']:.1f} s",
                f"{row['overhead_ms_per_slot']:.0f} ms",
            )
    cost = result["counted"]
    shown.caption = (
        f"2 workers take {result['two_workers_over_one']:.2f} of the time of one. Counted at the "
        f"paper's settings, the authors' loop costs {cost['teacher']['authors_over_ours']} times "
        f"ours for a teacher, {cost['student']['authors_over_ours']} times for a student."
    )
    return shown


def _median(rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return the row whose wall time is the median."""
    ordered = sorted(rows, key=lambda row: float(row["seconds"]))
    return ordered[len(ordered) // 2]


def _in_fresh_process(params: Params, inputs: Path, state: Path, workers: int) -> dict[str, Any]:
    # A pool's process may have workers of its own, and is spawned: nothing is warm but what it
    # imports itself.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_measure, params, inputs, state, workers).result()


class _Clock:
    """Observer: when the search was ready to work."""

    started_at = 0.0

    def started(self, spec: SearchSpec) -> None:
        del spec
        self.started_at = time.perf_counter()

    def result(self, result: SearchResult) -> None: ...

    def generation(self, results: Sequence[SearchResult]) -> None: ...

    def finished(self, found: Found) -> None: ...


def _measure(params: Params, inputs: Path, state: Path, workers: int) -> dict[str, Any]:
    from rolekd.search.member import make_spec
    from rolekd.search.runner import run as search
    from rolekd.track import runs, store
    from rolekd.track.observers import SearchRuns

    spec = make_spec(params, "teacher", inputs)
    state.mkdir()
    os.chdir(state)  # MLflow's store and what waits for it are here
    uri = addresses.of_sqlite(state / "mlflow.db")
    store.initialise(uri)  # as `make setup` does
    clock = _Clock()
    begin = time.perf_counter()
    with runs.start("search", experiment="bench", track=TrackParams(uri=uri), send=False) as run:
        found = search(spec, inputs, state, [clock, SearchRuns(run, "teacher")], workers=workers)
    seconds = time.perf_counter() - begin
    startup = clock.started_at - begin
    results = [result for generation in found.history for result in generation]
    busy = sum(result.seconds for result in results)
    return {
        "slots": len(results),
        "seconds": round(seconds, 2),
        "startup_seconds": round(startup, 2),
        "share_busy": round(busy / (workers * seconds), 3),
        "overhead_ms_per_slot": round(
            1e3 * (workers * (seconds - startup) - busy) / len(results), 1
        ),
        "images_per_second": round(sum(result.images_seen for result in results) / seconds),
        "schedule": found.schedule.to_json(),
    }


def _write_digits(params: Params, inputs: Path) -> None:
    from rolekd.data import dataset
    from rolekd.sources.prepare import prepare

    whole = prepare(params.data, params.seed)
    dataset.save_splits(whole, ("search_train", "search_val"), inputs / "data")


def _write_cifar(inputs: Path) -> None:
    import numpy as np

    from rolekd.data import dataset

    stream = np.random.default_rng(0)
    images = stream.integers(0, 256, (_CIFAR_IMAGES, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(_CIFAR_IMAGES) % 10
    half, everything = _CIFAR_IMAGES // 2, np.arange(_CIFAR_IMAGES)
    splits = {
        "search_train": everything[:half],
        "search_val": everything[half:],
        "train": everything,
        "test": everything[:0],
    }
    classes = tuple(map(str, range(10)))
    dataset.save(dataset.assemble("random", images, labels, classes, splits), inputs / "data")
