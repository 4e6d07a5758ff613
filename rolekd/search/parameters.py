"""A search as Optuna's plots and dashboard analyse it: parameters, a target, a note.

The two copies that a policy has of each operation are shown as one: an image gets its operations
in random order, so that neither copy comes first. The probability is the mean of both. The
magnitude is their mean, weighted by their probabilities, since the magnitude of a copy that is
never applied does nothing; 0 if neither is applied. For an operation whose magnitude 5 is the
identity (brightness, colour, contrast, sharpness) it is the distance from 5: a copy above and one
below do not cancel out.
"""

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import optuna
from optuna.distributions import FloatDistribution, IntDistribution, distribution_to_json

from rolekd.augment import ladder
from rolekd.augment.ops import TABLE
from rolekd.augment.policy import MAX_MAGNITUDE, MAX_PROBABILITY, OPERATIONS, Policy, describe
from rolekd.fleet.tasks import GAIN
from rolekd.search.explore import LARGEST
from rolekd.search.final import NONE_CANDIDATE, on_ladder
from rolekd.search.phases import CONFIRM, PROPOSE
from rolekd.search.population import Candidate, SearchTask

# what samplers draw from: name -> distribution, of the 60 integers in their order
SPACE: Mapping[str, IntDistribution] = {
    f"{index:02} {describe(index)}": IntDistribution(0, largest)
    for index, largest in enumerate(LARGEST)
}
STRENGTH = "strength"  # of a rung of the ladder
_BLENDS = TABLE["Brightness"].strengths  # the factors of all that blend; 1 is the identity


def _identity(operation: str) -> int:
    """Return the magnitude at which an operation does nothing."""
    if TABLE[operation].strengths != _BLENDS:
        return 0
    return min(range(len(_BLENDS)), key=lambda magnitude: abs(_BLENDS[magnitude] - 1.0))


_IDENTITIES = {operation: _identity(operation) for operation in OPERATIONS}
_DISTRIBUTIONS = {
    f"{operation}.{what}": distribution_to_json(FloatDistribution(0.0, largest))
    for operation, identity in _IDENTITIES.items()
    for what, largest in (
        ("probability", 1.0),
        ("magnitude", float(max(identity, MAX_MAGNITUDE - identity))),
    )
}
_STRENGTHS = distribution_to_json(IntDistribution(0, ladder.HIGHEST))


def policy_params(task: SearchTask) -> Iterable[tuple[str, float, str]]:
    """Yield name, value and distribution as JSON: of the policy, and of a rung of the ladder."""
    values = summary_params(Policy(task.policy))
    for name, distribution in _DISTRIBUTIONS.items():
        yield name, values[name], distribution
    if task.candidate is not None and (strength := _strength(task.candidate)) is not None:
        yield STRENGTH, float(strength), _STRENGTHS


def summary_params(policy: Policy) -> dict[str, float]:
    """Return the 30 numbers that are shown of a policy, by name.

    `OPERATION.probability` is in 0..1; `OPERATION.magnitude` in 0..9, of blends in 0..5; 0 changes
    nothing.
    """
    entries = policy.entries()
    found: dict[str, float] = {}
    for operation, identity in _IDENTITIES.items():
        copies = [entry for entry in entries if entry.operation == operation]
        chances = [entry.probability for entry in copies]
        distances = [abs(entry.magnitude - identity) for entry in copies]
        magnitude = statistics.fmean(distances, chances) if any(chances) else 0.0
        found[f"{operation}.probability"] = statistics.fmean(chances) / MAX_PROBABILITY
        found[f"{operation}.magnitude"] = round(magnitude, 3)
    return found


def _strength(candidate: Candidate) -> int | None:
    """Return a candidate's strength on the ladder, 0 of none; None: it is not on the ladder."""
    if candidate.name == NONE_CANDIDATE:
        return 0
    rung = on_ladder(candidate.schedule)
    return None if rung is None else ladder.parse(rung)[1]


def gain(study: optuna.Study, stage: str = PROPOSE) -> Callable[[optuna.trial.FrozenTrial], float]:
    """Return a target for `optuna.visualization` and `optuna.importance`: what a trial gained.

    Accuracies of a search are not comparable: a later generation was trained for longer, and the
    first has no augmentation. In PBT a trial's gain is its accuracy above that of its parent, whose
    weights it continued from; for a constant policy, whose parent is itself, it is the accuracy.
    From that, the mean over all trials of the same epochs is subtracted.

        better = gain(study)
        plot_slice(study, params=["Rotate.probability"], target=better, target_name="gain")
        plot_param_importances(study, target=lambda trial: -better(trial), target_name="gain")

    The minus is for Optuna's default evaluator, which explains low values of a custom target.

    Args:
        study: Of a search, which may still run.
        stage: "propose", or "confirm" for the final: the accuracy above that of none with the same
            seed.

    Returns:
        Trial -> its gain, in accuracy 0..1; NaN, which Optuna leaves out, if it has none.
    """
    inherits = study.user_attrs["spec"]["search"]["algorithm"] == "pbt"
    own: dict[int, float] = {}
    peers: dict[int, Any] = {}
    bases: dict[Any, list[float]] = defaultdict(list)
    for trial in study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE]):
        attributes = trial.user_attrs
        if attributes["stage"] != stage:
            continue
        fresh = stage == CONFIRM or not inherits or attributes["parent"] is None
        own[trial.number] = trial.values[0] if fresh else attributes[GAIN]
        peer = attributes["seed"] if stage == CONFIRM else tuple(attributes["epochs"])
        peers[trial.number] = peer
        if stage == PROPOSE or attributes["candidate"] == NONE_CANDIDATE:
            bases[peer].append(own[trial.number])

    def target(trial: optuna.trial.FrozenTrial) -> float:
        base = bases.get(peers.get(trial.number))
        return own[trial.number] - statistics.fmean(base) if base else math.nan

    return target


def note(study: str) -> str:
    """Return what optuna-dashboard shows of a study, by its name, as Markdown."""
    return f"""\
**A trial** is one training of the search. Stage `{PROPOSE}`: member `member` of generation \
`generation`, trained for `epochs` from the weights of `parent`. Stage `{CONFIRM}`: a `candidate` \
of the final, trained anew and whole with `seed`.

**Parameters.** A policy has two copies of each operation. `Rotate.probability` is the mean of \
both, 0 to 1; `Rotate.magnitude` their mean, weighted by probability, 0 to {MAX_MAGNITUDE}; of \
Brightness, Color, Contrast and Sharpness the distance from magnitude 5, which changes nothing; \
0 where it is never applied. \
AutoContrast, Equalize and Invert have no strength: what plots say of their magnitude is chance. \
`{STRENGTH}` is that of a rung of the ladder, 0 of none. A schedule of the final is shown by the \
policy it ends with. The 60 integers are the attribute `policy`.

**How to read the plots.** Accuracy misleads: a later generation was trained for longer, and the \
first has no augmentation, so the importances in this dashboard mostly say when, not what. \
`{GAIN}` is the accuracy above that of the parent: choose it where a plot lets you choose. It \
shrinks as training continues; in Python compare trials with others of the same epochs:

```python
import optuna
from optuna.visualization import plot_param_importances, plot_slice
from rolekd.search.parameters import gain

# or the address of your server
study = optuna.load_study(study_name="{study}", storage="sqlite:///.rolekd/optuna.db")
better = gain(study)
# minus: Optuna's importances explain low values of a custom target
plot_param_importances(study, target=lambda trial: -better(trial), target_name="gain")
plot_slice(study, params=["Rotate.probability"], target=better, target_name="gain")
plot_slice(study, params=["{STRENGTH}"], target=gain(study, "{CONFIRM}"), target_name="gain")
```
"""
