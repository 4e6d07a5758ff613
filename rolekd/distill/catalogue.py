"""Losses by name: those of this package, and those that installed packages declare.

A package of your own declares a subclass of `rolekd.distill.term.Term` as an entry point in the
group `rolekd.losses`; the entry point's name is the name in `distill.loss`.
"""

from collections.abc import Mapping

from torch import nn

from rolekd import plugins
from rolekd.distill import features, logits, relations
from rolekd.distill.term import Term
from rolekd.errors import InputError, did_you_mean

LOSSES: Mapping[str, type[Term]] = logits.LOSSES | features.LOSSES | relations.LOSSES

# Several losses under one name. ii, intra and inter: Fu et al. 2020, the paper's strongest.
COMBINATIONS: Mapping[str, Mapping[str, float]] = {"ii": {"mhgd": 1.0, "rkd": 1.0, "kdsvd": 1.0}}

_GROUP = "rolekd.losses"
# a loss is a column in the metrics of an epoch, beside these
_TAKEN = (
    "seed",
    "epoch",
    "loss",
    "cross_entropy",
    "accuracy",
    "damping",
    "learning_rate",
    "levels_changed",
    "strength",
    "images_per_second",
)


def resolve(loss: str | Mapping[str, float]) -> dict[str, float]:
    """Return the losses that `distill.loss` means, with their weights, without those of weight 0.

    Raises:
        InputError: A loss does not exist, or every weight is 0.
    """
    if isinstance(loss, str):
        if loss in COMBINATIONS:
            return dict(COMBINATIONS[loss])
        kind = find(loss)
        return {loss: kind.weight, **kind.companions}
    for name in loss:
        if name in COMBINATIONS:
            parts = ", ".join(f"{part}: {weight:g}" for part, weight in COMBINATIONS[name].items())
            raise InputError(f"distill.loss.{name}: means {{{parts}}}; name these instead")
        find(name, f"distill.loss.{name}")
    weights = {name: weight for name, weight in loss.items() if weight > 0}
    if not weights:
        raise InputError(
            "distill.loss: every weight is 0, so nothing is distilled; give a loss a weight"
        )
    return weights


def find(name: str, key: str = "distill.loss") -> type[Term]:
    """Look up a loss: ours by name, yours by its entry point; `key` is for errors.

    Raises:
        InputError: The loss does not exist, or its declared class cannot be a loss.
    """
    if name in LOSSES:
        return LOSSES[name]
    declared = plugins.names(_GROUP)
    if name not in declared:
        known = (*LOSSES, *COMBINATIONS, *declared)
        raise InputError(f"{key}: unknown loss {name}; {did_you_mean(name, known)}")
    if not name.isidentifier() or name in _TAKEN or hasattr(nn.ModuleDict, name):
        raise InputError(
            f"{key}: a loss cannot be called {name}; give its entry point another name, of "
            "letters, digits and _"
        )
    kind = plugins.load(_GROUP, name, f"{key}: loss {name}")
    if not (isinstance(kind, type) and issubclass(kind, Term)):
        raise InputError(
            f"{key}: loss {name} is declared as {kind!r:.60}, which is not a subclass of "
            "rolekd.distill.term.Term; mend its entry point"
        )
    return kind
