"""Runs become numbers: means with 95 % intervals, and how each arm differs from ours.

An interval is a bootstrap over what is independent: contexts that were learned alone, sequences, people,
trainings; not over the questions about one of them. A difference is taken on the same ones; one whose
interval holds 0, or which chance gives in one of twenty cases (sign-flip test), is none.
"""

import random
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence

from evals.arms.registry import ARMS
from evals.metrics import bootstrap, paired_difference, sign_flip

OURS = "ours"

Runs = Mapping[str, dict]
"""Arm → what its file holds."""

Values = dict[str, float]
"""What is independent → its value."""

ENOUGH = 6
"""Of fewer pairs the sign-flip test can never say that there is a difference."""


def in_order(runs: Runs) -> list[str]:
    """Return the arms in the order in which they are shown."""
    order = ["popularity", *ARMS]
    return sorted(runs, key=lambda arm: (order.index(arm) if arm in order else len(order), arm))


# -- values of the independent parts --------------------------------------------------------


def of_units(run: dict, value: Callable[[dict], float | None]) -> Values:
    """Return the value of each unit that has one. The contexts of a file are the same for every seed, so
    that there the mean over the seeds is one value."""
    found = {key: value(unit) for key, unit in run["units"].items()}
    if run["about"]["data"].startswith("house"):
        return {key: number for key, number in found.items() if number is not None}
    groups: dict[str, list[float]] = {}
    for key, number in found.items():
        if number is not None:
            groups.setdefault(key.partition("/")[2], []).append(number)
    return {key: statistics.fmean(numbers) for key, numbers in groups.items()}


def recall_single(run: dict, what: str = "right") -> Values:
    return of_units(run, lambda unit: statistics.fmean(float(row[what]) for row in unit["answers"]))


def recall_batch(run: dict) -> Values:
    """Return the recall of each training, over all its contexts."""
    return of_units(run, lambda unit: _share((c[0], c[1]) for c in unit["contexts"]))


def at_lag(unit: dict, lag: int) -> list[list]:
    return [row for row in unit["matrix"] if row[0] - row[1] == lag]


def recall_at_lag(run: dict, lag: int) -> Values:
    """Return the recall of each sequence on what was told `lag` contexts before."""
    return of_units(run, lambda unit: _share((row[2], row[3]) for row in at_lag(unit, lag)))


def retention_at_lag(run: dict, lag: int) -> Values:
    """Return that recall divided by the recall of the same contexts right after they were learned."""

    def retention(unit: dict) -> float | None:
        later = at_lag(unit, lag)
        first = {row[1]: row[2] for row in at_lag(unit, 0)}
        before = sum(first[row[1]] for row in later)
        return sum(row[2] for row in later) / before if before else None

    return of_units(run, retention)


def recall_at_end(run: dict) -> Values:
    """Return the recall of each sequence on all its contexts (of the lags asked) after the last."""

    def last(unit: dict) -> float | None:
        end = max(row[0] for row in unit["matrix"])
        return _share((row[2], row[3]) for row in unit["matrix"] if row[0] == end)

    return of_units(run, last)


def share_of(name: str) -> Callable[[dict], float | None]:
    """Return a reader of one figure of *personal*."""
    return lambda unit: _share([unit["counts"][name]])


def _share(counts: Iterable[Sequence[int]]) -> float | None:
    counts = list(counts)
    asked = sum(number for _, number in counts)
    return sum(hits for hits, _ in counts) / asked if asked else None


# -- cells ---------------------------------------------------------------------------------------


def with_interval(values: Values, digits: int = 2) -> str:
    """Return "mean (low–high)", a dash for nothing, the value alone where there is but one."""
    numbers = list(values.values())
    if not numbers:
        return "–"
    mean = statistics.fmean(numbers)
    if len(numbers) == 1:
        return f"{mean:.{digits}f}"
    low, high = bootstrap(numbers)
    return f"{mean:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"


def difference(ours: Values, theirs: Values) -> tuple[float, float, float, bool] | None:
    """Return ours minus theirs with its interval on what both have, and whether it is one; None where
    that is too little to say."""
    both = sorted(ours.keys() & theirs.keys())
    if len(both) < ENOUGH:
        return None
    pairs = [ours[key] for key in both], [theirs[key] for key in both]
    mean, low, high = paired_difference(*pairs)
    chance = sign_flip([a - b for a, b in zip(*pairs, strict=True)])
    return mean, low, high, not low <= 0 <= high and chance < 0.05


def against_ours(ours: Values | None, theirs: Values) -> str:
    """Return how an arm differs from ours, from the arm's side: better by, worse by, none."""
    if not ours:
        return "–"
    if not (found := difference(ours, theirs)):
        return "too few"
    mean, low, high, is_one = found
    if not is_one:
        return "none"
    nearer, farther = sorted((abs(low), abs(high)))
    return f"{'worse' if mean > 0 else 'better'} by {abs(mean):.2f} ({nearer:.2f}–{farther:.2f})"


def efficacy(values: Values, floor: Values | None, ceiling: Values | None) -> str:
    """Return (recall - floor) / (ceiling - floor) on what all three have, with its interval."""
    keys = sorted(values.keys() & (floor or {}).keys() & (ceiling or {}).keys())

    def ratio(drawn: Sequence[str]) -> float | None:
        mean, low, high = (
            statistics.fmean(v[key] for key in drawn) for v in (values, floor, ceiling)
        )
        return (mean - low) / (high - low) if high > low else None

    if not keys or (found := ratio(keys)) is None:
        return "–"
    if len(keys) == 1:
        return f"{found:.2f}"
    rng = random.Random(0)
    drawn = [ratio(rng.choices(keys, k=len(keys))) for _ in range(2000)]
    drawn = sorted(one for one in drawn if one is not None)
    low, high = (drawn[round(q * (len(drawn) - 1))] for q in (0.025, 0.975))
    return f"{found:.2f} ({low:.2f}–{high:.2f})"


def floor_and_ceiling(
    arm: dict, values: Mapping[str, Values]
) -> tuple[Values | None, Values | None]:
    """Return the floor and the ceiling of the base model in the form that an arm has it."""
    form = "-fp32" if arm["about"]["form"].get("quantize") == "none" else ""
    return values.get(f"base{form}"), values.get(f"ceiling{form}")
