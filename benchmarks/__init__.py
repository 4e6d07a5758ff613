"""Benchmarks, which are not in the wheel; `rolekd bench` calls them where a checkout has them.

Each that `commands` names has `run(...) -> dict` and `table(result) -> rich.table.Table`.
"""
