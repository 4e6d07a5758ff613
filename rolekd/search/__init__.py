"""The search of a schedule: population based training on an Optuna study, by any workers.

Read first population (the method, pure), lineage (its result) and final (what is confirmed of it),
then board and worker (how slots are shared out), study (the Optuna side), and runner (all
together).
"""

__all__ = [
    "board",
    "database",
    "final",
    "history",
    "identity",
    "joining",
    "lineage",
    "member",
    "observers",
    "phases",
    "population",
    "runner",
    "spec",
    "study",
    "trainer",
]
