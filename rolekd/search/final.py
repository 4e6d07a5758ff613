"""The final of a search: what was proposed is trained anew, and "none" stands unless it is beaten.

An algorithm's winner is the best of many noisy numbers, on one split, with weights that other
policies trained before: in part it won by luck. So candidates are trained from fresh weights for
the whole training, on splits drawn anew, over several seeds; candidates with the same seed have the
same split, initial weights and order of images, and are compared in pairs with "none". The budget
goes to the good ones: each rung gives more seeds to fewer candidates (successive halving, Jamieson
& Talwalkar 2016), and a gain that is clear ends the final, so that the seeds are spent where it is
close. In doubt "none" is kept: a search then does no harm.

A rung is a generation of tasks that follows those of the algorithm. Standard library only.
"""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rolekd.augment import ladder
from rolekd.augment import schedule as schedules
from rolekd.augment.policy import Policy
from rolekd.augment.schedule import Schedule
from rolekd.errors import HopelessError
from rolekd.fleet.tasks import Slot
from rolekd.search import lineage
from rolekd.search.population import Candidate, Generation, SearchTask

if TYPE_CHECKING:
    from rolekd.params import SearchParams

NONE_CANDIDATE = "none"
# What a final can compare. Of 90 validation images one is a whole point, more than most gains: over
# draws of six seeds accuracy replaced none in 57 % of finals that should, log loss in 87 %
# (results/search.md).
ACCURACY, LOG_LOSS = "accuracy", "log_loss"
# what a training also measures where a teacher is judged by its student: the teacher's own
TEACHER_ACCURACY = "teacher_accuracy"


@dataclass(frozen=True)
class Scale:
    """How a difference in a measure is shown.

    Attributes:
        factor: By which it is multiplied.
        digits: Of the fraction.
        unit: Written after the number.
    """

    factor: float
    digits: int
    unit: str

    def show(self, value: float, *, sign: bool = True) -> str:
        """Return a difference as text, without the unit."""
        return f"{self.factor * value:{'+' if sign else ''}.{self.digits}f}"


SCALES = {
    ACCURACY: Scale(100.0, 2, "points"),
    LOG_LOSS: Scale(1.0, 3, "nats of log loss"),
}
_ROUNDING = 1e-9
# what a rung does, as `schedules.simplest` has it -> its name; at strength 0 none does anything
_RUNGS = {
    schedules.simplest(Schedule.constant(ladder.policy(name), 1)).segments: name
    for family in ladder.FAMILIES
    for name in (f"{family}-{strength}" for strength in range(1, ladder.HIGHEST + 1))
}
_FEWEST = 4  # seeds from which a standard error can decide


@dataclass(frozen=True)
class Standing:
    """What the final found out about a candidate.

    Attributes:
        name: Of the candidate.
        accuracies: Seed -> validation accuracy, 0..1; 0 if the loss became NaN.
        measure: What decides, `accuracy` or `log_loss`.
        differences: How much better than none it is in that, in the order of the seeds: accuracy,
            0..1, or nats.
        accuracy_gain: Mean paired difference of the accuracy to none's, 0..1.
        rung: The last rung that it was in, from 0.
    """

    name: str
    accuracies: Mapping[int, float]
    measure: str
    differences: tuple[float, ...]
    accuracy_gain: float
    rung: int

    @property
    def gain(self) -> float:
        """Mean paired difference to none."""
        return statistics.fmean(self.differences)

    @property
    def error(self) -> float:
        """Standard error of the gain; infinite with one seed."""
        count = len(self.differences)
        if count < 2:
            return float("inf")
        return float(statistics.stdev(self.differences) / count**0.5)

    @property
    def evidence(self) -> str:
        """How much better than none it is, as text."""
        scale, count = SCALES[self.measure], len(self.differences)
        spread = f" ± {scale.show(self.error, sign=False)}" if count > 1 else ""
        text = f"{scale.show(self.gain)}{spread} {scale.unit} better than none over {count} seeds"
        if self.measure == ACCURACY:
            return text
        return f"{text}, in accuracy {SCALES[ACCURACY].show(self.accuracy_gain)} points"


@dataclass(frozen=True)
class FinalVerdict:
    """How a final ended.

    Attributes:
        standings: Of all candidates, sorted by the rung they reached, then by their gain.
        best: The best candidate of the last rung other than none, whether it won or not; none if
            it was alone.
        winner: `best`, or none.
        schedule: The winner's.
    """

    standings: Sequence[Standing]
    best: Standing
    winner: Standing
    schedule: Schedule


def candidates(
    settings: "SearchParams", given: Mapping[str, Any], proposed: Sequence[Generation]
) -> list[Candidate]:
    """Return the candidates: none, the given ones, the algorithm's best, the ladder's rungs.

    Args:
        settings: Of the search.
        given: Name -> JSON of a schedule, such as the teacher's for a student.
        proposed: The algorithm's generations, complete; empty for the ladder alone.
    """

    def constant(policy: Policy) -> Schedule:
        return Schedule.constant(policy, settings.epochs)

    found = [Candidate(NONE_CANDIDATE, constant(Policy.zeros()))]
    found += [Candidate(name, schedules.parse(value, name)) for name, value in given.items()]
    for place, line in enumerate(lineage.best(proposed, settings.proposals), 1):
        name = f"{settings.algorithm}-{place}"
        found.append(Candidate(name, lineage.to_schedule(line, settings.epochs)))
    found += [Candidate(name, constant(ladder.policy(name))) for name in settings.ladder]
    # schedules with the same effect are trained once, under the name that came first
    unique: dict[Schedule, Candidate] = {}
    for candidate in found:
        unique.setdefault(schedules.simplest(candidate.schedule), candidate)
    return list(unique.values())


def on_ladder(schedule: Schedule) -> str | None:
    """Return the rung of the ladder that does what a schedule does; None: there is none.

    A rung can compete under another name, such as that of the teacher's schedule.
    """
    return _RUNGS.get(schedules.simplest(schedule).segments)


def plan(
    settings: "SearchParams",
    entered: Sequence[Candidate],
    rungs: Sequence[Generation],
    generation: int,
    epochs: int,
) -> list[SearchTask]:
    """Plan the rung that follows the complete ones; empty if the final is over.

    Args:
        settings: Of the search.
        entered: All candidates, in order.
        rungs: The complete rungs.
        generation: The number of generations before this rung.
        epochs: Of a whole training.
    """
    assert settings.confirm is not None
    if over(settings, rungs):
        return []
    count, seeds = settings.confirm.rungs[len(rungs)]
    done = settings.confirm.rungs[len(rungs) - 1][1] if rungs else 0
    left = _survivors(entered, rungs, count, settings.confirm.measure)
    # seed by seed, so that the first pairs are soon complete
    pairs = [(candidate, seed) for seed in range(done, seeds) for candidate in left]
    return [
        SearchTask(
            slot=Slot(generation, member),
            parent=None,
            policy=tuple(candidate.schedule.segments[-1][1]),
            start_epoch=0,
            epochs=epochs,
            generation_size=len(pairs),
            candidate=candidate,
            seed=seed,
        )
        for member, (candidate, seed) in enumerate(pairs)
    ]


def over(settings: "SearchParams", rungs: Sequence[Generation]) -> bool:
    """Return whether all rungs are complete, or enough are: a clear gain needs no more seeds.

    Only a gain ends a final early. Harm is soon clear, too, but another candidate may still help,
    and in doubt none is kept anyway.
    """
    assert settings.confirm is not None
    if len(rungs) == len(settings.confirm.rungs):
        return True
    if not rungs or settings.confirm.decided is None:
        return False
    found = standings(_trainings(rungs), settings.confirm.measure)
    best = next((one for one in found if one.name != NONE_CANDIDATE), None)
    if best is None or len(best.differences) < _FEWEST:
        return best is None
    return best.gain > settings.confirm.decided * best.error + _ROUNDING


def verdict(settings: "SearchParams", rungs: Sequence[Generation]) -> FinalVerdict:
    """Judge a final whose rungs are complete.

    Raises:
        HopelessError: The loss of every training became NaN.
    """
    assert settings.confirm is not None
    if all(result.accuracy is None for rung in rungs for result in rung):
        raise HopelessError(
            "search: the loss of every training of the final became NaN; lower the learning rate "
            "of the role that is searched"
        )
    found = standings(_trainings(rungs), settings.confirm.measure)
    # if no candidate has an effect, none is alone
    best = next((one for one in found if one.name != NONE_CANDIDATE), found[0])
    bound = max(0.0, settings.confirm.standard_errors * best.error)
    # with two pairs, one of them a tie, gain and error are the same: rounding must not decide
    beaten = best.gain > bound + _ROUNDING
    winner = best if beaten else next(one for one in found if one.name == NONE_CANDIDATE)
    return FinalVerdict(found, best, winner, _entered(rungs)[winner.name].schedule)


@dataclass(frozen=True)
class CandidateTraining:
    """A training of a final.

    Attributes:
        rung, candidate, seed: Which training this is.
        accuracy: None: the loss became NaN, which counts as 0.
        log_loss: None: the trainer does not report it.
    """

    rung: int
    candidate: str
    seed: int
    accuracy: float | None
    log_loss: float | None = None


def standings(trainings: Iterable[CandidateTraining], measure: str = ACCURACY) -> list[Standing]:
    """Return the candidates' standings, sorted by the rung they reached, then by their gain.

    Args:
        trainings: All; the candidate none has every seed that another has.
        measure: What is compared; accuracy if any training lacks a log loss.
    """
    rows = list(trainings)
    if any(row.log_loss is None for row in rows):
        measure = ACCURACY
    accuracies: dict[str, dict[int, float]] = {}
    scores: dict[str, dict[int, float]] = {}
    last: dict[str, int] = {}
    for row in rows:
        accuracy = row.accuracy or 0.0
        accuracies.setdefault(row.candidate, {})[row.seed] = accuracy
        score = accuracy if measure == ACCURACY else -(row.log_loss or 0.0)
        scores.setdefault(row.candidate, {})[row.seed] = score
        last[row.candidate] = max(row.rung, last.get(row.candidate, 0))
    none = scores[NONE_CANDIDATE]
    found = [
        Standing(
            name,
            accuracies[name],
            measure,
            tuple(own[seed] - none[seed] for seed in sorted(own)),
            statistics.fmean(
                accuracies[name][seed] - accuracies[NONE_CANDIDATE][seed] for seed in own
            ),
            last[name],
        )
        for name, own in scores.items()
    ]
    return sorted(found, key=lambda one: (-one.rung, -one.gain))


def _trainings(rungs: Iterable[Generation]) -> list[CandidateTraining]:
    return [
        CandidateTraining(
            rung,
            result.task.candidate.name,
            result.task.seed,
            result.accuracy,
            result.extras.get(LOG_LOSS),
        )
        for rung, results in enumerate(rungs)
        for result in results
        if result.task.candidate is not None
    ]


def _entered(rungs: Iterable[Generation]) -> dict[str, Candidate]:
    """Return the candidates that were trained in these rungs, by name, in order."""
    found = [result.task.candidate for rung in rungs for result in rung if result.task.candidate]
    return {candidate.name: candidate for candidate in found}


def _survivors(
    entered: Sequence[Candidate], rungs: Sequence[Generation], count: int, measure: str
) -> list[Candidate]:
    """Return none and the best of the others, as many as the next rung takes, in order."""
    if not rungs:
        return list(entered)
    found = standings(_trainings(rungs), measure)
    running = [one.name for one in found if one.rung == len(rungs) - 1]
    kept = {NONE_CANDIDATE, *[name for name in running if name != NONE_CANDIDATE][: count - 1]}
    return [candidate for candidate in entered if candidate.name in kept]
