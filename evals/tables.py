"""Runs become tables, one for each experiment."""

import statistics
from collections.abc import Callable, Iterable, Sequence

from evals.injection import LAGS
from evals.values import (
    OURS,
    Runs,
    Values,
    against_ours,
    efficacy,
    floor_and_ceiling,
    in_order,
    of_units,
    recall_at_end,
    recall_at_lag,
    recall_batch,
    recall_single,
    retention_at_lag,
    share_of,
    with_interval,
)


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _mean(run: dict, value: Callable[[dict], float]) -> float:
    return statistics.fmean(value(unit) for unit in run["units"].values())


def _seconds(run: dict) -> str:
    return f"{_mean(run, lambda unit: unit['cost']['seconds']):.1f}"


# -- tables, one for each experiment --------------------------------------------------------------


def _rejected(run: dict) -> str:
    """Return how many of the app's consolidations were refused, nothing for other arms."""
    slices = [one for unit in run["units"].values() for one in unit["cost"]["slices"]]
    return f"{sum(not published for published, *_ in slices)} of {len(slices)}" if slices else ""


def _cut(run: dict) -> str:
    number = _mean(run, lambda unit: unit["cost"]["num_cut"])
    return f"{number:.0f}" if number else ""


def injection_table(
    runs: Runs, recall: Callable[[dict], Values], more: dict[str, Callable[[dict], str]],
    newest: Callable[[dict], Values] | None = None,
) -> str:  # fmt: skip
    """Return recall, efficacy (on the newest context) and the difference to ours, with columns of the
    experiment's own."""
    values = {arm: recall(runs[arm]) for arm in in_order(runs)}
    fresh = {arm: (newest or recall)(runs[arm]) for arm in values}
    return markdown(
        ["arm", "n", "recall", "efficacy", "against ours", *more, "refused", "cut"],
        (
            [
                arm, len(found), with_interval(found), efficacy(fresh[arm], *floor_and_ceiling(runs[arm], fresh)),
                "" if arm == OURS else against_ours(values.get(OURS), found),
                *(cell(runs[arm]) for cell in more.values()), _rejected(runs[arm]), _cut(runs[arm]),
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
    def mean_of(column: int) -> Callable[[dict], float]:
        return lambda unit: statistics.fmean(counts[column] for counts in unit["contexts"])

    return injection_table(runs, recall_batch, {
        "QA-F1": lambda run: with_interval(of_units(run, mean_of(2))),
        "prompt tokens": lambda run: f"{_mean(run, mean_of(3)):.0f}",
        "seconds": _seconds,
    })  # fmt: skip


def sequential_table(runs: Runs) -> str:
    """Return the recall at the end, that of each lag, and what is retained of it."""

    def tokens(unit: dict) -> float:
        return statistics.fmean(row[5] for row in unit["matrix"])

    lags = [lag for lag in LAGS if any(recall_at_lag(run, lag) for run in runs.values())]
    return injection_table(runs, recall_at_end, {
        **{f"lag {lag}": lambda run, lag=lag: with_interval(recall_at_lag(run, lag)) for lag in lags},
        **{f"retained {lag}": lambda run, lag=lag: with_interval(retention_at_lag(run, lag)) for lag in lags[1:]},
        "prompt tokens": lambda run: f"{_mean(run, tokens):.0f}",
    }, newest=lambda run: recall_at_lag(run, 0))  # fmt: skip


def taste_table(runs: Runs) -> str:
    names = ["recall@1", "recall@5", "recall@10", "recall@20", "ndcg@10"]

    def of(run: dict, name: str) -> Values:
        return of_units(run, lambda unit: unit[name])

    def tokens(run: dict) -> str:
        numbers = [
            unit["memory_tokens"] for unit in run["units"].values() if "memory_tokens" in unit
        ]
        return f"{statistics.fmean(numbers):.0f}" if numbers else ""

    ours = of(runs[OURS], "ndcg@10") if OURS in runs else None
    return markdown(
        ["arm", "n", *names, "NDCG against ours", "prompt tokens", "refused"],
        (
            [arm, len(runs[arm]["units"]), *(with_interval(of(runs[arm], name), 3) for name in names),
             "" if arm == OURS else against_ours(ours, of(runs[arm], "ndcg@10")), tokens(runs[arm]),
             _rejected(runs[arm]) if arm != "popularity" else ""]
            for arm in in_order(runs)
        ),
    )  # fmt: skip


PERSONAL = (
    "recall", "latest value", "stale", "others", "bleed", "abstention", "context beats weights", "leak", "taste on unseen films",
)  # fmt: skip


def films_lost(unit: dict) -> float:
    """Return which share of the film questions is no longer answered rightly."""
    (before, asked), (after, _) = (
        unit["counts"][f"film questions {when}"] for when in ("before", "after")
    )
    return (before - after) / asked


def personal_table(runs: Runs) -> str:
    return markdown(
        ["arm", "n", *PERSONAL, "damage, nats", "film questions lost", "prompt tokens", "refused"],
        (
            [arm, len(runs[arm]["units"]), *(with_interval(of_units(runs[arm], share_of(name))) for name in PERSONAL),
             with_interval(of_units(runs[arm], lambda unit: unit["damage_nats"]), 3),
             with_interval(of_units(runs[arm], films_lost)), f"{_mean(runs[arm], lambda unit: unit['memory_tokens']):.0f}",
             _rejected(runs[arm])]
            for arm in in_order(runs)
        ),
    )  # fmt: skip


SHARES = (0.25, 0.5, 0.75)
"""Of the ceiling's recall, at which costs are compared."""


def first_at(curve: Sequence[dict], recall: float) -> dict | None:
    """Return the first point of a curve that has the recall and keeps it at the next look."""
    return next(
        (
            point
            for point, following in zip(curve, [*curve[1:], curve[-1]], strict=True)
            if min(point["recall"], following["recall"]) >= recall
        ),
        None,
    )


def cost_table(runs: Runs) -> str:
    """Return what each arm had cost when it first had a share of the ceiling's recall on the same contexts."""
    in_the_end = {
        arm: {key: unit["curve"][-1]["recall"] for key, unit in run["units"].items()}
        for arm, run in runs.items()
    }

    def reached(run: dict, share: float) -> str:
        ceiling = floor_and_ceiling(run, in_the_end)[1] or {}
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
        ["arm", "recall in the end", *(f"to {share:.0%} of the ceiling" for share in SHARES), "more memory, MB", "kept, kB", "prompt tokens"],
        (
            [arm, with_interval(of_units(runs[arm], lambda unit: unit["curve"][-1]["recall"])),
             *(reached(runs[arm], share) for share in SHARES),
             f"{_mean(runs[arm], lambda unit: unit['cost']['more_bytes']) / 1e6:.0f}", kept(runs[arm]),
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
