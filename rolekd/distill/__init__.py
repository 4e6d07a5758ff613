"""Knowledge distillation: losses as pure functions, methods as data."""
