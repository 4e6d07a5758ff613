"""Benchmarks, which are not in the wheel; `rolekd bench` calls them where a checkout has them.

Each one that `commands` names has `run(...) -> dict` and `table(result) -> rich.table.Table`.
"""
