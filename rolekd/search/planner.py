"""What plans a search: PBT itself, or Optuna's samplers and pruners for constant policies."""

import importlib
from collections.abc import Callable, Sequence
from functools import partial

import optuna

from rolekd.errors import InputError
from rolekd.params import SearchParams
from rolekd.search import final, phases
from rolekd.search.constant import ConstantPlanner
from rolekd.search.explore import PolicyIntegers
from rolekd.search.parameters import SPACE
from rolekd.search.population import Generation, SearchTask, plan
from rolekd.search.spec import SearchSpec
from rolekd.seeds import derive

SearchPlanner = Callable[[Sequence[Generation]], list[SearchTask]]


class OptunaAdvisor:
    """An Optuna sampler and pruner, on a study in memory.

    Asked and notified in a fixed order, they propose the same in every worker.
    """

    def __init__(self, settings: SearchParams, seed: int) -> None:
        begin = max(1, settings.population // 4)
        seed = derive(seed, "sample") % 2**32
        samplers: dict[str, Callable[[], optuna.samplers.BaseSampler]] = {
            "random": lambda: optuna.samplers.RandomSampler(seed),
            "tpe": lambda: optuna.samplers.TPESampler(seed=seed, n_startup_trials=2 * begin),
            "cmaes": lambda: _cmaes(seed),
        }
        pruners: dict[str, Callable[[], optuna.pruners.BasePruner]] = {
            "none": optuna.pruners.NopPruner,
            "median": lambda: optuna.pruners.MedianPruner(n_startup_trials=begin),
            "hyperband": lambda: optuna.pruners.HyperbandPruner(1, settings.intervals),
        }
        self._study = optuna.create_study(
            study_name="constant policies",  # Hyperband spreads candidates by a hash of it
            direction="maximize",
            sampler=samplers[settings.algorithm](),
            pruner=pruners[settings.pruner](),
        )
        self._trials: list[optuna.Trial] = []

    def propose(self) -> tuple[int, PolicyIntegers]:
        """See `Advisor`."""
        trial = self._study.ask(dict(SPACE))
        self._trials.append(trial)
        return trial.number, tuple(trial.params[name] for name in SPACE)

    def report(self, number: int, age: int, accuracy: float) -> bool:
        """See `Advisor`."""
        self._trials[number].report(accuracy, age)
        return self._trials[number].should_prune()

    def end(self, number: int, accuracy: float | None, stopped: bool) -> None:
        """See `Advisor`."""
        if stopped:
            self._study.tell(number, state=optuna.trial.TrialState.PRUNED)
        elif accuracy is None:
            self._study.tell(number, state=optuna.trial.TrialState.FAIL)
        else:
            self._study.tell(number, accuracy)


def _cmaes(seed: int) -> optuna.samplers.BaseSampler:
    importlib.import_module("cmaes")  # Optuna would miss it only after the first candidate
    return optuna.samplers.CmaEsSampler(seed=seed)


def make_planner(spec: SearchSpec) -> SearchPlanner:
    """Make the planner of a search: the same function of the complete generations everywhere."""
    settings, algorithm = spec.search, _make_algorithm(spec)

    def plan_next(history: Sequence[Generation]) -> list[SearchTask]:
        if not phases.all_proposed(settings, history):
            return algorithm(history)
        if settings.confirm is None:
            return []
        entered = final.candidates(settings, spec.given, phases.proposed(history))
        rungs = phases.rungs(history)
        return final.plan(settings, entered, rungs, len(history), spec.epochs)

    return plan_next


def _make_algorithm(spec: SearchSpec) -> SearchPlanner:
    settings = spec.search
    if settings.algorithm == "ladder":
        return lambda _: []
    if settings.algorithm == "pbt":
        return partial(plan, settings, spec.seed)
    try:
        return ConstantPlanner(settings, OptunaAdvisor(settings, spec.seed))
    except ImportError as error:
        raise InputError(
            f"search.algorithm: {settings.algorithm} needs a package that is not installed "
            f"({error.name}); install it, or choose pbt, tpe or random"
        ) from error
