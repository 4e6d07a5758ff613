"""Augmentation: operations on whole batches, policies, schedules, the engine that applies them."""
