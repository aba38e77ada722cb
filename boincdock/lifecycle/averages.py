"""Running averages: sample statistics and recent average credit (spec 03 sections 7 and 8.7). Pure."""
from __future__ import annotations

import math
from dataclasses import dataclass

HALF_LIFE = 604800.0
"""Seconds after which recent average credit has halved without new work."""

DAY = 86400.0


@dataclass(frozen=True, slots=True)
class Rule:
    """How an average learns: plain mean below ``threshold`` samples, then exponential with ``weight``;
    a sample above ``limit`` times the average counts as that."""

    threshold: int
    weight: float
    limit: float


HOST_RULE = Rule(threshold=20, weight=0.01, limit=10)
VERSION_RULE = Rule(threshold=100, weight=0.001, limit=10)


@dataclass(frozen=True, slots=True)
class Average:
    """A record (n, mean, variance, sum of squared deviations)."""

    n: float = 0.0
    avg: float = 0.0
    var: float = 0.0
    q: float = 0.0

    def updated(self, sample: float, rule: Rule) -> Average:
        """The record after ``sample``; a negative sample is ignored."""
        if sample < 0:
            return self
        if self.n and self.avg:
            sample = min(sample, self.avg * rule.limit)
        n = self.n + 1
        delta = sample - self.avg
        if n < rule.threshold:
            avg = self.avg + delta / n
            q = self.q + delta * (sample - avg)
            return Average(n, avg, q / n, q)
        return Average(n, self.avg + rule.weight * delta, self.var + rule.weight * (delta * delta - self.var), self.q)


def recent_credit(now: float, start: float, work: float, avg: float, avg_time: float) -> float:
    """Recent average credit (credits per day) at ``now``, after ``work`` credits for work begun at ``start``.

    ``avg`` is the stored value as of ``avg_time`` (0: never updated). The caller stores ``now`` with it.
    """
    if avg_time:
        elapsed = max(0.0, now - avg_time)
        keep = math.exp(-elapsed * math.log(2) / HALF_LIFE)
        avg *= keep
        if 1 - keep > 1e-6:
            return avg + (1 - keep) * work / (elapsed / DAY)
        return avg + math.log(2) * work * DAY / HALF_LIFE
    if work:
        return work / (max(1.0, now - start) / DAY)
    return avg
