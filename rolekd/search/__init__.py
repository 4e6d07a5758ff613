"""The search of a schedule: population based training, and a final that confirms.

Start with population (the method, pure), lineage (its result) and final (which confirms it), then
read spec (what `rolekd.fleet` shares out among workers) and runner (all of it together).
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
