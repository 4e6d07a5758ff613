"""What a search may cost, in images that it trains on.

The algorithm and the final are counted here alone; `rolekd estimate` and the search itself show the
count before the first training.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from rolekd.params import Params, Role


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


def budget_of(
    params: Params, role: Role, sizes: Mapping[str, int], own_validation: bool = False
) -> Budget:
    """Count what the search of a role may cost.

    Args:
        params: All parameters.
        role: Whose schedule is searched.
        sizes: Number of images of search_train, which the algorithm trains on, and of search_val.
            The final divides both anew.
        own_validation: search_val are images of your own, so nothing is divided anew.
    """
    settings, train = params.search, sizes["search_train"]
    proposed = settings.proposed_epochs * train
    if settings.confirm is None:
        return Budget(proposed, 0)
    both = train + sizes["search_val"]
    part = train if own_validation else round((1 - settings.confirm.validation_fraction) * both)
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
        * ("teacher" in others and not own_validation),
    )
