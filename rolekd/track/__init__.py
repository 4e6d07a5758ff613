"""MLflow: runs, registry, provenance."""

__all__ = [
    "card",
    "compare",
    "connections",
    "evidence",
    "gates",
    "health",
    "observers",
    "predict",
    "promotion",
    "provenance",
    "registry",
    "runs",
    "serving",
    "spool",
    "store",
    "sync",
    "versions",
]
