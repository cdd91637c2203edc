"""Runs become plots."""

import statistics
from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import MaxNLocator

from evals.injection import LAGS
from evals.metrics import bootstrap
from evals.values import (
    OURS,
    Runs,
    Values,
    in_order,
    recall_at_lag,
    recall_batch,
    recall_single,
)

COLOURS = {
    "ours": "#b3261e", "weights": "#e8827c", "bm25": "#1f6f8b", "dense": "#63b4cf", "full-history": "#3d5a3d",
    "ft-context": "#b8a04a", "ft-sentences": "#8f7a1f", "self-param": "#6a4c93", "self-param-best": "#a98ad0",
    "ceiling": "#555555", "base": "#bbbbbb",
}  # fmt: skip

STYLE = {
    "svg.hashsalt": "imprint", "font.size": 10, "axes.spines.top": False, "axes.spines.right": False,
    "figure.figsize": (8, 4.2), "figure.constrained_layout.use": True,
}  # fmt: skip


NOT_DRAWN = {"base-fp32", "ceiling-fp32"}
"""Arms that only the tables have: the same lines once more."""


def draw(runs: Mapping[str, Runs], folder: Path) -> dict[str, Path]:
    """Draw what the runs (experiment → arm → run) are enough for; return experiment → file."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn: dict[str, Path] = {}
    for experiment, arms in runs.items():
        make = PLOTS.get(experiment.partition("-")[0])
        arms = {arm: run for arm, run in arms.items() if arm not in NOT_DRAWN and run["units"]}
        if make is None or not arms:
            continue
        with mpl.rc_context(STYLE):
            figure, axes = plt.subplots()
            make(axes, arms)
            drawn[experiment] = folder / f"{experiment}.svg"
            figure.savefig(drawn[experiment], metadata={"Date": None})
            plt.close(figure)
    return drawn


def bars(axes: plt.Axes, runs: Runs, values: Mapping[str, Values]) -> None:
    """Draw the recall of each arm, with floor and ceiling as lines."""
    levels = {
        name: statistics.fmean(values[name].values())
        for name in ("base", "ceiling")
        if name in values
    }
    arms = [arm for arm in in_order(runs) if arm not in levels]
    means = [statistics.fmean(values[arm].values()) for arm in arms]
    ends = [bootstrap(list(values[arm].values())) for arm in arms]
    errors = [
        [mean - low for mean, (low, _) in zip(means, ends, strict=True)],
        [high - mean for mean, (_, high) in zip(means, ends, strict=True)],
    ]
    axes.bar(
        arms, means, yerr=errors, capsize=3, color=[COLOURS.get(arm, "#999999") for arm in arms]
    )
    for name, level in levels.items():
        axes.axhline(level, color=COLOURS[name], linestyle="--", linewidth=1)
        label = "floor" if name == "base" else name
        axes.annotate(
            label,
            (1, level),
            xycoords=("axes fraction", "data"),
            ha="right",
            va="bottom",
            color="#444444",
        )
    axes.set_ylim(0, 1)
    axes.set_ylabel("recall, 95 % interval")
    axes.tick_params(axis="x", rotation=35)


def single(axes: plt.Axes, runs: Runs) -> None:
    bars(axes, runs, {arm: recall_single(run) for arm, run in runs.items()})


def batch(axes: plt.Axes, runs: Runs) -> None:
    bars(axes, runs, {arm: recall_batch(run) for arm, run in runs.items()})


def sequential(axes: plt.Axes, runs: Runs) -> None:
    """Draw recall against what was learned since."""
    for arm in in_order(runs):
        points = [
            (lag, list(recall_at_lag(runs[arm], lag).values())) for lag in range(max(LAGS) + 1)
        ]
        points = [(lag, values) for lag, values in points if values]
        lags = [lag for lag, _ in points]
        colour = COLOURS.get(arm, "#999999")
        axes.plot(
            lags, [statistics.fmean(values) for _, values in points], label=arm, color=colour,
            marker=".", linewidth=2.5 if arm == OURS else 1.3,
        )  # fmt: skip
        ends = [bootstrap(values) for _, values in points]
        axes.fill_between(
            lags,
            [low for low, _ in ends],
            [high for _, high in ends],
            color=colour,
            alpha=0.12,
            linewidth=0,
        )
    axes.set_ylim(0, 1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("contexts learned since")
    axes.set_ylabel("recall")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)


def cost(axes: plt.Axes, runs: Runs) -> None:
    """Draw recall against the seconds of learning, a line for each unit."""
    for arm in in_order(runs):
        colour = COLOURS.get(arm, "#999999")
        for number, unit in enumerate(runs[arm]["units"].values()):
            curve = unit["curve"]
            axes.plot(
                [max(point["seconds"], 0.01) for point in curve], [point["recall"] for point in curve],
                marker="." if len(curve) == 1 else None, color=colour, alpha=0.7, linewidth=1.2,
                label=arm if number == 0 else None,
            )  # fmt: skip
    axes.set_xscale("log")
    axes.set_ylim(0, 1)
    axes.set_xlabel("seconds of learning")
    axes.set_ylabel("recall")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)


def latency(axes: plt.Axes, runs: Runs) -> None:
    """Draw the seconds to the first token against the past."""
    for arm in in_order(runs):
        units = sorted(runs[arm]["units"].values(), key=lambda unit: unit["turns"])
        axes.plot(
            [unit["turns"] for unit in units], [unit["seconds"] for unit in units], marker="o", label=arm,
            color=COLOURS.get(arm, "#999999"), linewidth=2.5 if arm == OURS else 1.3,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("turns of the past")
    axes.set_ylabel("seconds to the first token")
    axes.legend(frameon=False)


PLOTS = {
    "single": single,
    "batch": batch,
    "sequential": sequential,
    "cost": cost,
    "latency": latency,
}
