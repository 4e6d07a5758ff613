"""MLflow: runs, what waits for its store, the store, provenance."""

__all__ = [
    "client",
    "compare",
    "health",
    "observers",
    "places",
    "provenance",
    "runs",
    "spool",
    "sqlite",
    "store",
    "sync",
    "urls",
]
