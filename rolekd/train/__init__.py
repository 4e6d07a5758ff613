"""Training: the loop, its resumable state, evaluation."""

__all__ = [
    "augmentation",
    "devices",
    "evaluate",
    "fit",
    "loop",
    "names",
    "roles",
    "start",
    "state",
]
