"""Do all names in the parameters exist? Asked before any work begins."""

from typing import TYPE_CHECKING

from rolekd.data.sources import find
from rolekd.distill import methods
from rolekd.models import zoo

if TYPE_CHECKING:
    from rolekd.params import Params


def check(params: "Params") -> None:
    """Raise `InputError` for a source, network or loss that does not exist."""
    find(params.data.source)
    for model in (params.teacher.model, params.student.model):
        zoo.find(model.name)
    methods.check(params.distill.terms)
