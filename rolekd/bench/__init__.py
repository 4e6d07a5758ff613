"""Benchmarks: each module has `run(...) -> dict` and `table(result) -> rich.table.Table`."""
