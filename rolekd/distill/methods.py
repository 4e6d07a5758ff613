"""Methods of distillation by name: terms with weights, and the gradient rule."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rolekd.distill.terms import TERMS
from rolekd.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from rolekd.params import DistillParams

GradientRule = Literal["sum", "clipped"]


@dataclass(frozen=True)
class Method:
    """What a distillation adds to the cross-entropy.

    Attributes:
        terms: Name of a term -> its weight, beside lambda.
        gradient_rule: "sum", or "clipped": the gradients of the terms that say so are clipped,
            for each parameter tensor, to sigmoid(epoch) times the length of all others' sum.
    """

    terms: Mapping[str, float]
    gradient_rule: GradientRule = "sum"

    @property
    def needs_taps(self) -> bool:
        """Whether a term compares features."""
        return any(TERMS[name].needs_taps for name in self.terms)


METHODS: dict[str, Method] = {
    "soft": Method({"soft": 1.0}),
    "fitnet": Method({"fitnet": 1.0, "soft": 1.0}),
    "at": Method({"at": 10.0}),
    "fsp": Method({"fsp": 1.0}),
    "dml": Method({"dml": 1.0}),
    "ft": Method({"ft": 1.0}),
    "ab": Method({"ab": 1.0}),
    "rkd": Method({"rkd": 1.0}),
    "kdsvd": Method({"kdsvd": 1.0}, "clipped"),
    "mhgd": Method({"mhgd": 1.0}, "clipped"),
    "ii": Method({"mhgd": 1.0, "rkd": 1.0, "kdsvd": 1.0}, "clipped"),
    "dkd": Method({"dkd": 1.0}),
}


def resolve(params: "DistillParams") -> Method:
    """Return the method that the parameters name, or the one that their terms make.

    Raises:
        InputError: A method or a term does not exist, or every weight is 0.
    """
    if params.method is not None:
        if params.method not in METHODS:
            raise InputError(_unknown("distill.method", "method", params.method, METHODS))
        return METHODS[params.method]
    for name in params.terms:
        if name not in TERMS:
            raise InputError(_unknown(f"distill.terms.{name}", "loss", name, TERMS))
    if not any(params.terms.values()):
        raise InputError(
            "distill.terms: every weight is 0, so that nothing is distilled; give a term a weight "
            "or name a distill.method"
        )
    return Method(params.terms, params.gradient_rule)


def _unknown(key: str, kind: str, name: str, known: Collection[str]) -> str:
    return f"{key}: no such {kind} {name}; {did_you_mean(name, known)}"
