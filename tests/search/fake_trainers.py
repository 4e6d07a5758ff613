"""A cheap, deterministic trainer in plain numpy, declared as the entry point `fake`.

Its state is a vector that depends on everything a real training state depends on: the parent's
state, the policy, the slot's member and the epochs; its accuracy is a function of the state.
"""

import math
import os
import time
from pathlib import Path

import numpy as np

from rolekd.fleet.tasks import Outcome, Slot
from rolekd.search.spec import SearchSpec
from rolekd.seeds import derive


class Fake:
    """`training` may hold: seconds (of each slot), diverge (slots), size (numbers of the state)."""

    def __init__(self, spec: SearchSpec, inputs: Path, keep: Path) -> None:
        del keep  # a slot is short
        self.spec = spec
        self.target = np.frombuffer((inputs / "data" / "target.bin").read_bytes(), dtype=np.uint8)

    def advance(self, state, policy, slot: Slot, start_epoch, epochs, out: Path) -> Outcome:
        begin = time.perf_counter()
        options = self.spec.training
        if [slot.generation, slot.member] in options.get("diverge", []):
            return Outcome(math.nan, 0, 0.0)
        if os.environ.get("FAKE_FAIL_AT") == f"{slot.generation},{slot.member}":
            raise ValueError("a bug of the trainer")
        if state is None:
            vector = np.zeros(options.get("size", 60))
        else:
            vector = np.frombuffer(state.read_bytes())
        stream = np.random.default_rng(derive(self.spec.seed, "fake", start_epoch, slot.member))
        for _ in range(epochs):
            gap = np.abs(np.asarray(policy, dtype=float) - self.target)
            vector = 0.9 * vector
            vector[:60] += 1.0 / (1.0 + gap) + 0.01 * stream.standard_normal(60)
        out.write_bytes(vector.tobytes())
        time.sleep(options.get("seconds", 0.0))
        accuracy = float(vector[:60].mean() / 10)
        return Outcome(
            accuracy, 100 * epochs, time.perf_counter() - begin, {"norm": float(vector[0])}
        )

    def confirm(self, schedule, seed, epochs) -> Outcome:
        options = self.spec.training
        diverging = options.get("diverge_final", [])
        if diverging == "all" or [schedule.segments[-1][1].values[:2], seed] in diverging:
            return Outcome(math.nan, 0, 0.0, {"log_loss": 10.0})
        stream = np.random.default_rng(derive(self.spec.seed, "fake final", seed))
        pair = 0.05 * stream.standard_normal()  # of all that have this seed
        gaps = [
            np.abs(np.asarray(policy.values, dtype=float) - self.target).mean()
            for epoch in range(schedule.epochs)
            for policy in [schedule.policy_at(epoch)]
        ]
        own = derive(self.spec.seed, "fake final", seed, *map(int, map(round, gaps)))
        noise, other = 0.01 * np.random.default_rng(own).standard_normal(2)
        time.sleep(options.get("seconds", 0.0))
        # orders candidates otherwise than the accuracy does
        log_loss = float(np.mean(gaps[-1]) / 20 - pair + other)
        accuracy = float(0.7 - np.mean(gaps) / 20 + pair + noise)
        return Outcome(accuracy, 100 * epochs, 0.0, {"log_loss": log_loss})
