"""The registry of students: versions, evidence, gates, promotion, the card, serving."""

__all__ = [
    "assessment",
    "card",
    "connections",
    "evidence",
    "fetch",
    "gates",
    "promotion",
    "serving",
    "versions",
]
