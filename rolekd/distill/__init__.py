"""Knowledge distillation: losses as pure functions, methods as data."""

__all__ = [
    "distillation",
    "methods",
    "objective",
    "predictor",
    "taps",
    "term",
    "terms",
    "testing",
]
