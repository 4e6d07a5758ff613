"""Training: the loop, its resumable state, evaluation."""
