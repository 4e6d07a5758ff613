"""What a study found, in numbers, made from its records alone.

An arm that searches decide is the mean over its searches, seed by seed and image by image. So it
has as many pairs with another arm as there are seeds.
"""

import functools
from collections import Counter
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from rolekd.evidence.design import Comparison
from rolekd.evidence.records import CellRow, Records
from rolekd.report.statistics import holm, seeds_needed, two_way_interval
from rolekd.report.tables import CONFIDENCE, Difference, paired_difference

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ArmResult:
    """How an arm did on a data set.

    Attributes:
        name, data: Of the arm and the data set.
        seeds: Those that are complete, in every search.
        failed: Number of cells that failed.
        right: [seeds, images], share of the searches whose network is right.
        by_search: Mean accuracy of each search, if searches decide it.
        calibration_error, robust, train_accuracy: Means over seeds and searches; robust is over
            corruptions and strengths, None if they were not measured.
    """

    name: str
    data: str
    seeds: tuple[int, ...]
    failed: int
    right: Floats
    by_search: tuple[float, ...]
    calibration_error: float
    robust: float | None
    train_accuracy: float

    @property
    def accuracies(self) -> Floats:
        """Test accuracy of each seed."""
        found: Floats = self.right.mean(1)
        return found

    @property
    def accuracy(self) -> float:
        """The mean of these."""
        return float(self.right.mean())

    @functools.cached_property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the accuracy over seeds and test images."""
        low, high = two_way_interval(self.right, CONFIDENCE)
        return max(low, 0.0), min(high, 1.0)


@dataclass(frozen=True)
class ArmComparison:
    """A comparison on a data set.

    Attributes:
        data: Its name.
        arm, against: Names of the arms.
        seeds: Number of pairs.
        difference: The first minus the second; its p is adjusted by Holm: the primary comparison's
            over its data sets, the others' over all others of the data set.
        needed: Seeds that would find the difference that matters four times in five; None: over
            1,000, or there is no spread to judge by.
    """

    data: str
    arm: str
    against: str
    seeds: int
    difference: Difference
    needed: int | None


class Answers:
    """What the records of a study say.

    Args:
        records: Of the study, complete or not.
    """

    def __init__(self, records: Records) -> None:
        self.records, self.study = records, records.study
        self._rows: dict[tuple[str, str], dict[int, dict[int | None, CellRow]]] = {}
        self.failed: Counter[tuple[str, str]] = Counter()
        for cell, row in records.rows.items():
            if row.measured.fault:
                self.failed[cell.data, cell.arm] += 1
            else:
                by_seed = self._rows.setdefault((cell.data, cell.arm), {})
                by_seed.setdefault(cell.seed, {})[cell.search] = row

    @functools.cached_property
    def arms(self) -> dict[tuple[str, str], ArmResult]:
        """(Data set, arm) -> how it did; arms without a complete seed are left out."""
        found = {}
        for data in self.study.data:
            for name in self.study.arms:
                if (arm := self._arm(data, name)) is not None:
                    found[data, name] = arm
        return found

    def _arm(self, data: str, name: str) -> ArmResult | None:
        searches = self.study.searches if self.study.arms[name].is_searched else 1
        by_seed = self._rows.get((data, name), {})
        complete = {
            seed: [rows[search] for search in sorted(rows, key=lambda number: number or 0)]
            for seed, rows in sorted(by_seed.items())
            if len(rows) == searches
        }
        if not complete:
            return None
        rows = [row for found in complete.values() for row in found]
        right = [
            np.mean([self.records.right(row.training) for row in found], axis=0)
            for found in complete.values()
        ]
        robust = [
            fmean(map(fmean, row.measured.robust.values())) for row in rows if row.measured.robust
        ]
        by_search = [
            fmean(found[place].measured.accuracy for found in complete.values())
            for place in range(searches)
        ]
        return ArmResult(
            name,
            data,
            tuple(complete),
            self.failed[data, name],
            np.array(right, np.float64),
            tuple(by_search) if searches > 1 else (),
            fmean(row.measured.calibration_error for row in rows),
            fmean(robust) if robust else None,
            fmean(row.measured.train_accuracy for row in rows),
        )

    @functools.cached_property
    def primary(self) -> list[ArmComparison]:
        """The primary comparison on each of its data sets."""
        one = self.study.primary
        names = one.data or self.study.data
        found = [self.compare(data, one, len(names)) for data in names]
        return _adjusted([each for each in found if each is not None])

    def others(self, data: str) -> list[ArmComparison]:
        """Return the other comparisons on a data set."""
        count = len(self.study.comparisons)
        found = [self.compare(data, one, count) for one in self.study.comparisons]
        return _adjusted([each for each in found if each is not None])

    def compare(self, data: str, one: Comparison, comparisons: int = 1) -> ArmComparison | None:
        """Compare two arms on a data set; None: they do not share a seed.

        Args:
            data: Its name.
            one: The arms.
            comparisons: How many are made, for which p must be adjusted.
        """
        pair = [self.arms.get((data, name)) for name in (one.arm, one.against)]
        first, second = pair
        if first is None or second is None:
            return None
        shared = sorted({*first.seeds} & {*second.seeds})
        if not shared:
            return None
        places = [[arm.seeds.index(seed) for seed in shared] for arm in (first, second)]
        right, reference = first.right[places[0]], second.right[places[1]]
        found = paired_difference(right, reference, comparisons)
        needed = None
        if found.p_value is not None:
            gaps = right.mean(1) - reference.mean(1)
            level = (1 - CONFIDENCE) / comparisons
            needed = seeds_needed(gaps, self.study.primary.points / 100, level)
        return ArmComparison(data, one.arm, one.against, len(shared), found, needed)

    def table(self) -> list[str]:
        """Return the names of the arms of the first table."""
        if self.study.table:
            return list(self.study.table)
        named = [self.study.primary, *self.study.comparisons]
        return list(dict.fromkeys(name for one in named for name in (one.against, one.arm)))


def _adjusted(found: list[ArmComparison]) -> list[ArmComparison]:
    tested = [one for one in found if one.difference.p_value is not None]
    adjusted = holm([one.difference.p_value or 0.0 for one in tested])
    by_place = {id(one): value for one, value in zip(tested, adjusted, strict=True)}
    return [
        replace(one, difference=replace(one.difference, adjusted=by_place.get(id(one))))
        for one in found
    ]
