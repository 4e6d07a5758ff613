"""Search of schedules: population based training with an Optuna study as the ledger."""
