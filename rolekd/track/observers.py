"""Records of trainings and searches in MLflow, with the same names everywhere."""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rolekd.params import Role
from rolekd.search.history import Found
from rolekd.search.population import SearchResult
from rolekd.search.spec import SearchSpec
from rolekd.track.runs import Run

# what a training measures -> its name, as val_ and test_ name what is measured on other images
_NAMES = {name: f"train_{name}" for name in ("accuracy", "cross_entropy", "loss")}


@dataclass(frozen=True)
class TrainingRun:
    """Reporter of a training (`rolekd.train.fit.Reporter`) to its run."""

    run: Run

    def epoch(self, metrics: Mapping[str, float], step: int) -> None:
        """Record an epoch; the images are those to train on, augmented, as it sees them."""
        self.run.epoch({_NAMES.get(name, name): value for name, value in metrics.items()}, step)


class SearchRuns:
    """Observer of a search (`rolekd.search.observers.Observer`).

    The sender's thread starts when the search has started, since the search forks its workers
    before that: open the run with `runs.start(..., send=False)`.
    """

    def __init__(self, run: Run, role: Role) -> None:
        self._run = run
        self._role = role
        self._members: list[Run] = []
        self._candidates: dict[str, Run] = {}
        # epochs trained so far, by member and by the population: they grow over restarts, where
        # those of a task begin again
        self._trained: Counter[int] = Counter()
        self._epochs = 0

    def started(self, spec: SearchSpec) -> None:
        """Open a child run for every member."""
        self._run.send()
        self._members = [
            self._run.child(f"{self._role} member {member}", {"member": member})
            for member in range(spec.search.lanes)
        ]

    def result(self, result: SearchResult) -> None:
        """Record a member's generation at the epochs it was trained, or a candidate's seed."""
        task = result.task
        metrics = {"images_seen": float(result.images_seen), "seconds": result.seconds}
        if result.accuracy is not None:
            metrics["val_accuracy"] = result.accuracy
        if task.candidate is not None:
            name = task.candidate.name
            if name not in self._candidates:
                title = f"{self._role} candidate {name}"
                self._candidates[name] = self._run.child(title, {"candidate": name})
            self._candidates[name].epoch({**metrics, **result.extras}, task.seed)
            return
        if task.parent is not None:
            metrics["copied_from"] = float(task.parent.member)
        number = task.slot.member
        self._trained[number] += task.epochs
        self._members[number].epoch({**metrics, **result.extras}, self._trained[number])

    def generation(self, results: Sequence[SearchResult]) -> None:
        """Record the population's accuracy in the parent run; a rung says nothing of it."""
        if results[0].task.candidate is not None:
            return
        accuracies = [result.accuracy for result in results if result.accuracy is not None]
        metrics = {"diverged_members": float(len(results) - len(accuracies))}
        if accuracies:
            metrics["best_val_accuracy"] = max(accuracies)
            metrics["median_val_accuracy"] = statistics.median(accuracies)
        self._epochs += max(result.task.epochs for result in results)
        self._run.epoch(metrics, self._epochs)

    def finished(self, found: Found) -> None:
        """Mark the members whose generations became a schedule, and who won; end their runs."""
        ancestors = [result.task.slot.member for result in found.line]
        for number, member in enumerate(self._members):
            best = number == ancestors[-1]
            member.set_tags({"best_proposal": best, "in_lineage": number in ancestors})
            member.close()
        if found.verdict is None:
            self._run.set_tags({"winner": f"member {ancestors[-1]}"})
            return
        winner = found.verdict.winner.name
        for standing in found.verdict.standings:
            run = self._candidates[standing.name]
            run.set_tags({"winner": standing.name == winner})
            run.close()
        self._run.set_tags({"winner": winner})
