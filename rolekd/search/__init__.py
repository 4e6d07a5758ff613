"""The search of a schedule: population based training, and a final that confirms.

Read first population (the method, pure), lineage (its result) and final (what is confirmed of it),
then spec (what `rolekd.fleet` shares out among workers) and runner (all together).
"""

__all__ = [
    "final",
    "history",
    "lineage",
    "member",
    "observers",
    "phases",
    "population",
    "runner",
    "spec",
    "trainer",
]
