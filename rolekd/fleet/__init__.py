"""The fleet: any number of workers that share the trainings of a job, on one machine or many.

A job (`jobs`) is planned in slots (`tasks`) by pure functions. Read first board and worker (how
slots are shared out), then study (the Optuna side: a trial for each slot), and runner (all
together).
"""

__all__ = [
    "artifacts",
    "board",
    "database",
    "identity",
    "jobs",
    "joining",
    "runner",
    "study",
    "tasks",
    "worker",
]
