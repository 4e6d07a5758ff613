"""Role-wise data augmentation for knowledge distillation of low-bit image classifiers.

`rolekd.facade` offers the whole pipeline in ten lines of Python; this package exports its names.
"""

import importlib
from typing import TYPE_CHECKING, Any

from rolekd import telemetry

if TYPE_CHECKING:
    from rolekd.facade import (
        Params,
        Schedule,
        load_data,
        predict,
        search_schedule,
        study,
        train_student,
        train_teacher,
    )

__version__ = "0.2.0"
__all__ = [
    "Params",
    "Schedule",
    "load_data",
    "predict",
    "search_schedule",
    "study",
    "train_student",
    "train_teacher",
]

telemetry.switch_off()  # here, since it must come before any library is imported


def __getattr__(name: str) -> Any:
    """Import the facade when it is used: it needs PyTorch, which takes a second."""
    if name in __all__:
        return getattr(importlib.import_module("rolekd.facade"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
