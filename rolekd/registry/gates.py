"""Gates: may this version become the champion? Pure functions of evidence."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from rolekd.errors import InputError
from rolekd.registry.evidence import Evidence
from rolekd.report.exact import chance_p_value, largest_share, worse_p_value

if TYPE_CHECKING:
    from rolekd.params import PromoteParams

_CHANCE = 0.05  # level of the test against naming the largest class

GateVerdict = Literal["pass", "refused", "not asked"]


@dataclass(frozen=True)
class Gate:
    """One question, what was found, what was wanted, and the verdict."""

    name: str
    found: str
    wanted: str
    verdict: GateVerdict


def judge(
    candidate: Evidence,
    champion: Evidence | None,
    latency_ratio: float | None,
    limits: "PromoteParams",
) -> list[Gate]:
    """Put a candidate through all gates.

    Args:
        candidate: its evidence.
        champion: the present champion's; None where there is none.
        latency_ratio: latency of the candidate by the champion's, measured side by side; None
            where there is no champion.
        limits: of the gates.

    Raises:
        InputError: the champion was tested on other images, so a paired test is not possible.
    """
    lost = 100 * (candidate.teacher_accuracy - candidate.accuracy)
    equal, images = candidate.parity_equal, candidate.parity_images
    tested = len(candidate.labels)
    return [
        _accuracy(candidate, limits),
        _gate(
            "test images",
            f"{tested:,}",
            f"at least {limits.test_images_least:,}",
            tested >= limits.test_images_least,
        ),
        *_against_champion(candidate, champion, limits),
        _gate(
            "drop against the teacher",
            f"{lost:.2f} points",
            f"at most {limits.teacher_points_lost:g}",
            lost <= limits.teacher_points_lost,
        ),
        _gate(
            "same class as PyTorch",
            f"{equal} of {images} images",
            "all test images",
            equal == images and images >= len(candidate.labels),
        ),
        _gate(
            "size", f"{candidate.bytes:,} bytes", f"at most {limits.bytes:,}",
            candidate.bytes <= limits.bytes,
        ),
        _latency(latency_ratio, limits),
    ]  # fmt: skip


def loss_p_value(candidate: Evidence, champion: Evidence) -> float:
    """Return the one-sided p value that the candidate is worse on the same images."""
    return worse_p_value(candidate.right, champion.right)


def _against_champion(
    candidate: Evidence, champion: Evidence | None, limits: "PromoteParams"
) -> list[Gate]:
    if champion is None:
        nothing = "no champion yet"
        return [
            Gate("accuracy against the champion", nothing, "", "not asked"),
            Gate("paired test on the same images", nothing, "", "not asked"),
        ]
    if (champion.data_digest, champion.labels) != (candidate.data_digest, candidate.labels):
        raise InputError(
            "promote: the champion was tested on other data (digest "
            f"{champion.data_digest[:12]}, the candidate's is {candidate.data_digest[:12]}); "
            "run it in the project whose outputs/data is the candidate's"
        )
    lost = 100 * (champion.accuracy - candidate.accuracy)
    p_value = loss_p_value(candidate, champion)
    return [
        _gate(
            "accuracy against the champion",
            f"{-lost:+.2f} points",
            f"at least {-limits.accuracy_points_lost:g}",
            lost <= limits.accuracy_points_lost,
        ),
        _gate(
            "paired test on the same images",
            f"worse with p = {p_value:.3f}",
            f"p at least {limits.significance:g}",
            p_value >= limits.significance,
        ),
    ]


def _accuracy(candidate: Evidence, limits: "PromoteParams") -> Gate:
    found = f"{100 * candidate.accuracy:.2f} %"
    if limits.accuracy_least is not None:
        return _gate(
            "accuracy",
            found,
            f"at least {limits.accuracy_least:g} %",
            100 * candidate.accuracy >= limits.accuracy_least,
        )
    labels = np.asarray(candidate.labels)
    p_value = chance_p_value(candidate.right, labels)
    return _gate(
        "accuracy",
        f"{found}, p = {p_value:.2g}",
        f"above {100 * largest_share(labels):.2f} %, the largest class, p below {_CHANCE:g}",
        p_value < _CHANCE,
    )


def _latency(ratio: float | None, limits: "PromoteParams") -> Gate:
    if ratio is None:
        return Gate("latency against the champion", "no champion yet", "", "not asked")
    wanted = f"at most {limits.latency_ratio:g} times"
    passed = ratio <= limits.latency_ratio
    return _gate("latency against the champion", f"{ratio:.2f} times", wanted, passed)


def _gate(name: str, found: str, wanted: str, passed: bool) -> Gate:
    return Gate(name, found, wanted, "pass" if passed else "refused")
