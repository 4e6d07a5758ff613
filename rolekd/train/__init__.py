"""Training: the object, its resumable state, evaluation."""

__all__ = [
    "augmentation",
    "devices",
    "evaluate",
    "fit",
    "pretrained",
    "roles",
    "seats",
    "state",
    "training",
]
