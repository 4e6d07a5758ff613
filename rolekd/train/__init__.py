"""Training: the object, its resumable state, evaluation."""

__all__ = [
    "augmentation",
    "devices",
    "evaluate",
    "fit",
    "roles",
    "seats",
    "state",
    "training",
]
