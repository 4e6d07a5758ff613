"""Training: the object, its resumable state, evaluation."""
