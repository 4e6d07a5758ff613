"""Augmentation: operations on whole batches, policies, schedules, the engine that applies them."""

__all__ = [
    "corruptions",
    "draws",
    "engine",
    "handmade",
    "ladder",
    "logs",
    "named",
    "ops",
    "policy",
    "recipe",
    "schedule",
]
