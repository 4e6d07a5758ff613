"""Do all names in the parameters exist? Asked before any work begins."""

from typing import TYPE_CHECKING

from rolekd.data.sources import find
from rolekd.distill import methods
from rolekd.models import zoo
from rolekd.train import roles

if TYPE_CHECKING:
    from rolekd.params import Params


def check(params: "Params") -> None:
    """Raise `InputError` for a source, network, loss or module that does not exist."""
    find(params.data.source)
    for model in (params.teacher.model, params.student.model):
        zoo.find(model.name)
    methods.check(params.distill.terms)
    if params.student.overrides:  # module paths: only the network itself knows them
        any_shape = {"classes": 2, "channels": 3, "image_size": [32, 32]}
        roles.build(roles.describe_student(params.student, any_shape), seed=0)
