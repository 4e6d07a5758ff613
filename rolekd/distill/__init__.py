"""Knowledge distillation: a loss is one class, with its source and its formula."""

__all__ = [
    "distillation",
    "features",
    "logits",
    "objective",
    "predictor",
    "registry",
    "relations",
    "taps",
    "term",
    "testing",
]
