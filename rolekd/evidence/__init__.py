"""Studies: their cells, what trains them, and the records that they leave."""

__all__ = ["answers", "design", "pages", "records", "running", "status", "trainings"]
