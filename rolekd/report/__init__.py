"""Tables, plots and the HTML page of a run."""

__all__ = [
    "costs",
    "datafiles",
    "findings",
    "gather",
    "histories",
    "measured",
    "page",
    "schedules",
    "style",
    "tables",
    "terminal",
]
