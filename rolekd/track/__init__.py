"""MLflow: runs, registry, provenance."""

__all__ = [
    "card",
    "compare",
    "evidence",
    "gates",
    "health",
    "observers",
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
