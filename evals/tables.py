"""Runs become tables: means with 95 % intervals, and how each arm differs from ours.

An interval is a bootstrap over what is independent: contexts, sequences, people; not over the questions
about one of them. A difference is taken on the same contexts; one whose interval holds 0 is none.
"""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence

from evals.arms.registry import ARMS
from evals.injection import LAGS
from evals.metrics import bootstrap, paired_difference

OURS = "ours"

Runs = Mapping[str, dict]
"""Arm → what its file holds."""

Values = dict[str, float]
"""What is independent → its value."""


def in_order(runs: Runs) -> list[str]:
    """Return the arms in the order in which they are shown."""
    order = ["popularity", *ARMS]
    return sorted(runs, key=lambda arm: (order.index(arm) if arm in order else len(order), arm))


# -- values of the independent parts --------------------------------------------------------


def recall_single(run: dict, what: str = "right") -> Values:
    return {
        key: statistics.fmean(float(answer[what]) for answer in unit["answers"])
        for key, unit in run["units"].items()
    }


def recall_batch(run: dict, column: int = 0) -> Values:
    """Return the recall of each context, or its F1 with column 2."""
    return {
        f"{key}/{i}": counts[0] / counts[1] if column == 0 else counts[column]
        for key, unit in run["units"].items()
        for i, counts in enumerate(unit["contexts"])
    }


def recall_at_lag(run: dict, lag: int) -> Values:
    """Return the recall of each sequence on what was told `lag` contexts before."""
    found: Values = {}
    for key, unit in run["units"].items():
        rows = [row for row in unit["matrix"] if row[0] - row[1] == lag]
        if rows:
            found[key] = sum(row[2] for row in rows) / sum(row[3] for row in rows)
    return found


def recall_at_end(run: dict) -> Values:
    """Return the recall of each sequence on all its contexts (of the lags asked) after the last."""
    found: Values = {}
    for key, unit in run["units"].items():
        last = max(row[0] for row in unit["matrix"])
        rows = [row for row in unit["matrix"] if row[0] == last]
        found[key] = sum(row[2] for row in rows) / sum(row[3] for row in rows)
    return found


def of_units(run: dict, value: Callable[[dict], float | None]) -> Values:
    found = {key: value(unit) for key, unit in run["units"].items()}
    return {key: number for key, number in found.items() if number is not None}


def share_of(name: str) -> Callable[[dict], float | None]:
    """Return a reader of one figure of *personal*."""

    def read(unit: dict) -> float | None:
        hits, asked = unit["counts"][name]
        return hits / asked if asked else None

    return read


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


def difference(ours: Values, theirs: Values) -> tuple[float, float, float] | None:
    """Return ours minus theirs with its interval, on what both have; None where that is too little."""
    both = sorted(ours.keys() & theirs.keys())
    if len(both) < 2:
        return None
    return paired_difference([ours[key] for key in both], [theirs[key] for key in both])


def against_ours(ours: Values | None, theirs: Values) -> str:
    """Return how an arm differs from ours, from the arm's side: "better by", "worse by", or "none"."""
    if ours is None or not (found := difference(ours, theirs)):
        return "–"
    mean, low, high = found
    if low <= 0 <= high:
        return "none"
    return f"{'worse' if mean > 0 else 'better'} by {abs(mean):.2f}"


def efficacy(values: Values, floor: Values | None, ceiling: Values | None) -> str:
    """Return (recall - floor) / (ceiling - floor) on what all three have."""
    if not floor or not ceiling:
        return "–"
    keys = values.keys() & floor.keys() & ceiling.keys()
    if not keys:
        return "–"
    mean, low, high = (statistics.fmean(v[key] for key in keys) for v in (values, floor, ceiling))
    return f"{(mean - low) / (high - low):.2f}" if high > low else "–"


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _mean(run: dict, value: Callable[[dict], float]) -> float:
    return statistics.fmean(value(unit) for unit in run["units"].values())


def _seconds(run: dict) -> str:
    return f"{_mean(run, lambda unit: unit['cost']['seconds']):.1f}"


# -- tables, one for each experiment --------------------------------------------------------------


def injection_table(runs: Runs, recall: Callable[[dict], Values], more: dict[str, Callable[[dict], str]]) -> str:  # fmt: skip
    """Return recall, efficacy and the difference to ours, with columns of the experiment's own."""
    values = {arm: recall(runs[arm]) for arm in in_order(runs)}
    ours, floor, ceiling = (values.get(name) for name in (OURS, "base", "ceiling"))
    return markdown(
        ["arm", "n", "recall", "efficacy", "against ours", *more],
        (
            [
                arm, len(found), with_interval(found), efficacy(found, floor, ceiling),
                "" if arm == OURS else against_ours(ours, found), *(cell(runs[arm]) for cell in more.values()),
            ]
            for arm, found in values.items()
        ),
    )  # fmt: skip


def single_table(runs: Runs) -> str:
    def tokens(unit: dict) -> float:
        return statistics.fmean(answer["memory_tokens"] for answer in unit["answers"])

    return injection_table(runs, recall_single, {
        "QA-F1": lambda run: with_interval(recall_single(run, "f1")),
        "exact match": lambda run: with_interval(recall_single(run, "exact")),
        "prompt tokens": lambda run: f"{_mean(run, tokens):.0f}",
        "seconds": _seconds,
        "steps": lambda run: f"{_mean(run, lambda unit: unit['cost']['steps']):.0f}",
    })  # fmt: skip


def batch_table(runs: Runs) -> str:
    def tokens(unit: dict) -> float:
        return statistics.fmean(counts[3] for counts in unit["contexts"])

    return injection_table(runs, recall_batch, {
        "QA-F1": lambda run: with_interval(recall_batch(run, 2)),
        "prompt tokens": lambda run: f"{_mean(run, tokens):.0f}",
        "seconds": _seconds,
    })  # fmt: skip


def sequential_table(runs: Runs) -> str:
    lags = [lag for lag in LAGS if any(recall_at_lag(run, lag) for run in runs.values())]
    return injection_table(runs, recall_at_end, {
        f"lag {lag}": lambda run, lag=lag: with_interval(recall_at_lag(run, lag)) for lag in lags
    })  # fmt: skip


def taste_table(runs: Runs) -> str:
    names = ["recall@1", "recall@5", "recall@10", "recall@20", "ndcg@10"]

    def of(run: dict, name: str) -> Values:
        return of_units(run, lambda unit: unit[name])

    ours = of(runs[OURS], "ndcg@10") if OURS in runs else None
    return markdown(
        ["arm", "n", *names, "NDCG against ours"],
        (
            [arm, len(runs[arm]["units"]), *(with_interval(of(runs[arm], name), 3) for name in names),
             "" if arm == OURS else against_ours(ours, of(runs[arm], "ndcg@10"))]
            for arm in in_order(runs)
        ),
    )  # fmt: skip


PERSONAL = (
    "recall", "latest value", "stale", "others", "bleed", "abstention", "context beats weights", "leak", "taste on unseen films",
)  # fmt: skip


def personal_table(runs: Runs) -> str:
    def lost(unit: dict) -> float:
        (before, asked), (after, _) = (
            unit["counts"][f"film questions {when}"] for when in ("before", "after")
        )
        return (before - after) / asked

    return markdown(
        ["arm", "n", *PERSONAL, "damage, nats", "film questions lost"],
        (
            [arm, len(runs[arm]["units"]), *(with_interval(of_units(runs[arm], share_of(name))) for name in PERSONAL),
             with_interval(of_units(runs[arm], lambda unit: unit["damage_nats"]), 3),
             with_interval(of_units(runs[arm], lost))]
            for arm in in_order(runs)
        ),
    )  # fmt: skip


SHARES = (0.25, 0.5, 0.75)
"""Of the ceiling's recall, at which costs are compared."""


def first_at(curve: Sequence[dict], recall: float) -> dict | None:
    """Return the first point of a curve that has the recall."""
    return next((point for point in curve if point["recall"] >= recall), None)


def cost_table(runs: Runs) -> str:
    """Return what each arm had cost when it first had a share of the ceiling's recall on the same contexts."""
    ceiling = {key: unit["curve"][-1]["recall"] for key, unit in runs["ceiling"]["units"].items()} if "ceiling" in runs else {}  # fmt: skip

    def reached(run: dict, share: float) -> str:
        points = [
            first_at(unit["curve"], share * ceiling[key])
            for key, unit in run["units"].items()
            if key in ceiling
        ]
        there = [point for point in points if point]
        if not there:
            return "never reached"
        seconds, steps, tokens = (
            statistics.median(point[name] for point in there)
            for name in ("seconds", "steps", "trained_tokens")
        )
        return f"{seconds:.0f} s, {steps:.0f} steps, {tokens / 1000:.0f} k tokens ({len(there)} of {len(points)})"

    def kept(run: dict) -> str:
        last = list(run["units"].values())[-1]["cost"]["kept_bytes"]
        return (
            ", ".join(f"{name} {size / 1000:.0f}" for name, size in last.items() if size)
            or "nothing"
        )

    return markdown(
        ["arm", "recall in the end", *(f"to {share:.0%} of the ceiling" for share in SHARES), "peak memory, MB", "kept, kB", "prompt tokens"],
        (
            [arm, with_interval(of_units(runs[arm], lambda unit: unit["curve"][-1]["recall"])),
             *(reached(runs[arm], share) for share in SHARES),
             f"{_mean(runs[arm], lambda unit: unit['cost']['peak_bytes']) / 1e6:.0f}", kept(runs[arm]),
             f"{_mean(runs[arm], lambda unit: unit['memory_tokens']):.0f}"]
            for arm in in_order(runs)
        ),
    )  # fmt: skip


def latency_table(runs: Runs) -> str:
    rows = []
    for arm in in_order(runs):
        for unit in sorted(runs[arm]["units"].values(), key=lambda unit: unit["turns"]):
            kept = ", ".join(
                f"{name} {size / 1000:.0f}" for name, size in unit["kept_bytes"].items() if size
            )
            rows.append(
                [arm, unit["turns"], f"{unit['seconds']:.3f}", f"{unit['prompt_tokens']:.0f}", kept]
            )
    return markdown(
        ["arm", "past turns", "seconds to the first token", "prompt tokens", "kept, kB"], rows
    )


TABLES: dict[str, Callable[[Runs], str]] = {
    "single": single_table, "batch": batch_table, "sequential": sequential_table, "taste": taste_table,
    "personal": personal_table, "cost": cost_table, "latency": latency_table,
}  # fmt: skip


def table_of(experiment: str, runs: Runs) -> str:
    """Return the table of an experiment, by the first part of its name."""
    return TABLES[experiment.partition("-")[0]](runs)
