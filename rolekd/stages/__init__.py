"""The stages of the pipeline: one function each; `stage` opens them."""

__all__ = [
    "augmentations",
    "checks",
    "distill",
    "estimate",
    "evaluate",
    "export",
    "plan",
    "prepare",
    "register",
    "report",
    "search",
    "stage",
    "storage",
    "students",
    "train_teacher",
]
