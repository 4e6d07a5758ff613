"""The fleet: any number of workers that share the trainings of a job, on one machine or many.

A job (`jobs`) is planned in tasks (`tasks`) by pure functions. Read first snapshot and worker (how
tasks are shared out), then studies (the Optuna side: a trial for each task), and runner (all
together).
"""

__all__ = [
    "artifacts",
    "database",
    "identity",
    "jobs",
    "remote",
    "runner",
    "snapshot",
    "studies",
    "tasks",
    "worker",
]
