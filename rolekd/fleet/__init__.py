"""The fleet: any number of workers that share the trainings of a job, on one machine or many.

A job (`jobs`) is planned in tasks (`tasks`) by pure functions. Start with snapshot and worker (how
tasks are shared out), then read studies (the Optuna side: a trial for each task) and runner (all of
it together).
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
