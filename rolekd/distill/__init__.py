"""Knowledge distillation: a loss is one class, with its source and its formula."""

__all__ = [
    "catalogue",
    "distillation",
    "features",
    "logits",
    "objective",
    "predictor",
    "relations",
    "taps",
    "term",
    "testing",
]
