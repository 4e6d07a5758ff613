"""What a search may cost, in images that it trains on.

The algorithm and the final are counted here alone; `rolekd estimate` and the search itself show the
count before the first training.
"""

from dataclasses import dataclass

from rolekd.data.dataset import Dataset
from rolekd.params import Params, Role
from rolekd.sources import splits


@dataclass(frozen=True)
class Budget:
    """Images seen in training, at most; an image counts once per epoch.

    Attributes:
        proposed: By the algorithm's members.
        confirmed: By the candidates of the final.
        taught: By the students that judge candidates of a teacher's search.
        teachers: By the teachers that a student's final trains anew.
    """

    proposed: int
    confirmed: int
    taught: int = 0
    teachers: int = 0

    @property
    def images(self) -> int:
        """All of them."""
        return self.proposed + self.confirmed + self.taught + self.teachers


def budget_of(params: Params, role: Role, dataset: Dataset) -> Budget:
    """Count what the search of a role may cost.

    Args:
        params: All parameters.
        role: Whose schedule is searched.
        dataset: The algorithm trains on its search_train. The final divides that and search_val
            anew, unless the latter are validation images of your own.
    """
    settings, train = params.search, dataset.sizes["search_train"]
    proposed = settings.proposed_epochs * train
    if settings.confirm is None:
        return Budget(proposed, 0)
    part, _ = splits.redrawn_sizes(dataset, settings.confirm.validation_fraction)
    trainings = settings.confirm.trainings * part
    others = params.trained_by_search(role) - {role}
    return Budget(
        proposed,
        trainings * getattr(params, role).training.epochs,
        trainings * params.student.training.epochs * ("student" in others),
        # one for each split; if nothing is divided, the given teacher serves
        settings.confirm.seeds
        * part
        * params.teacher.training.epochs
        * ("teacher" in others and not dataset.own_validation),
    )
