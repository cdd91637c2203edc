"""Tables by hand, and the page that they are written into."""

import pytest

from agent.errors import ConfigError
from evals import tables
from evals.metrics import sign_flip
from evals.report import report
from evals.runs import Run
from evals.tables import first_at
from evals.values import (
    against_ours,
    efficacy,
    of_units,
    recall_at_end,
    recall_at_lag,
    recall_batch,
    retention_at_lag,
    with_interval,
)


def answers(right, asked=4):
    return [{"right": i < right, "f1": 0.5, "exact": 0.0, "memory_tokens": 0} for i in range(asked)]


def run_of(arm, experiment, units, *, data="house, final", quantize="nf4"):
    return {
        "about": {
            "experiment": experiment, "arm": arm, "data": data, "model": "house", "settings": {}, "form": {"quantize": quantize},
        },
        "made": [{"commit": "abc", "hardware": "two cores", "versions": {"torch": "2"}}], "units": units,
    }  # fmt: skip


COST = {
    "seconds": 2.0, "steps": 3, "trained_tokens": 5, "teacher_tokens": 7, "more_bytes": 1e6, "kept_bytes": {"adapter": 2000},
    "num_cut": 0, "slices": [],
}  # fmt: skip


def single_runs(**rights):
    return {
        arm: run_of(
            arm,
            "single",
            {f"0/{i}": {"cost": COST, "answers": answers(r)} for i, r in enumerate(found)},
        )
        for arm, found in rights.items()
    }


def test_efficacy_is_the_way_from_the_floor_to_the_ceiling():
    floor, ceiling = {"a": 0.0, "b": 0.2}, {"a": 0.8, "b": 1.0}
    assert efficacy({"a": 0.4, "b": 0.6}, floor, ceiling) == "0.50 (0.50–0.50)"
    assert efficacy({"a": 0.4}, floor, ceiling) == "0.50"  # on what all three have
    assert efficacy({"a": 0.4}, floor, floor) == "–"
    assert efficacy({"a": 0.4}, None, ceiling) == "–"


def test_a_difference_inside_its_interval_is_called_none_and_of_few_nothing_is_said():
    ours = {str(i): 0.5 for i in range(10)}
    assert against_ours(ours, {str(i): 0.7 for i in range(10)}) == "better by 0.20 (0.20–0.20)"
    assert against_ours(ours, {str(i): 0.2 for i in range(10)}) == "worse by 0.30 (0.30–0.30)"
    assert against_ours(ours, {str(i): 0.5 + (-1) ** i * 0.3 for i in range(10)}) == "none"
    assert against_ours(ours, {str(i): 0.9 for i in range(5)}) == "too few"
    assert against_ours(None, ours) == "–"


def test_a_sign_flip_by_hand():
    assert sign_flip([1.0, 1.0, 1.0]) == 2 / 8  # only all alike are as far
    assert sign_flip([1.0, -1.0]) == 1.0
    assert sign_flip([0.1] * 6) == 2 / 64
    assert sign_flip([0.1] * 40) < 0.001
    assert sign_flip([0.1, -0.1] * 20) > 0.9


def test_of_a_training_with_many_contexts_there_is_one_value():
    unit = {"contexts": [[1, 4, 0.1, 0], [3, 4, 0.1, 0]], "cost": COST}
    assert recall_batch(run_of("ours", "batch-2", {"0/0": unit})) == {"0/0": 0.5}


def test_the_contexts_of_a_file_are_the_same_for_every_seed():
    units = {"0/0": {"x": 1.0}, "1/0": {"x": 0.0}, "0/1": {"x": 1.0}}
    assert of_units(
        run_of("ours", "single", units, data="pwc.jsonl, sha256 1"), lambda u: u["x"]
    ) == {"0": 0.5, "1": 1.0}
    assert len(of_units(run_of("ours", "single", units), lambda u: u["x"])) == 3


def test_floor_and_ceiling_are_those_of_the_model_that_an_arm_has():
    runs = single_runs(base=[0], ceiling=[4], ours=[2])
    for arm, rights in (("base-fp32", [2]), ("ceiling-fp32", [4]), ("self-param", [3])):
        run = single_runs(**{arm: rights})[arm]
        run["about"]["form"] = {"quantize": "none"}
        runs[arm] = run
    lines = {
        line.split(" | ")[0].strip("| "): line for line in tables.single_table(runs).splitlines()
    }
    assert "| 0.75 | 0.50 |" in lines["self-param"]  # from 0.5 to 1
    assert "| 0.50 | 0.50 |" in lines["ours"]  # from 0 to 1


def test_what_the_gate_refused_is_shown():
    runs = single_runs(ours=[2])
    runs["ours"]["units"]["0/0"]["cost"] = COST | {
        "slices": [[True, 3, "it passed"], [False, 2, "no"]],
        "num_cut": 3,
    }
    assert tables.single_table(runs).splitlines()[-1].endswith("| 1 of 2 | 3 |")


def test_recall_by_lag_and_at_the_end():
    matrix = [
        [0, 0, 4, 4, 1, 0],
        [1, 0, 2, 4, 1, 0],
        [1, 1, 3, 4, 1, 0],
        [2, 0, 0, 4, 1, 0],
        [2, 1, 1, 4, 1, 0],
        [2, 2, 4, 4, 1, 0],
    ]
    run = run_of("ours", "sequential-3", {"0/0": {"matrix": matrix, "cost": COST}})
    assert recall_at_lag(run, 0) == {"0/0": 11 / 12}
    assert recall_at_lag(run, 1) == {"0/0": 3 / 8}
    assert recall_at_lag(run, 2) == {"0/0": 0.0}
    assert recall_at_lag(run, 5) == {}
    assert recall_at_end(run) == {"0/0": 5 / 12}
    assert retention_at_lag(run, 1) == {
        "0/0": 3 / 7
    }  # of the first two contexts, 4 + 3 right at first
    assert retention_at_lag(run, 2) == {"0/0": 0.0}


def test_a_cost_is_that_of_the_first_time_a_recall_was_there_and_stayed():
    curve = [
        {"seconds": s, "steps": s, "trained_tokens": s, "recall": r}
        for s, r in ((1, 0.5), (2, 0.1), (3, 0.5), (4, 0.6))
    ]
    assert first_at(curve, 0.5)["seconds"] == 3  # at 1 it was chance
    assert first_at(curve, 0.6)["seconds"] == 4
    assert first_at(curve, 0.7) is None
    units = {"0/0": {"cost": COST, "memory_tokens": 0, "curve": curve}}
    best = {"0/0": {"cost": COST, "memory_tokens": 9, "curve": [curve[-1] | {"recall": 0.9}]}}
    table = tables.cost_table(
        {"ours": run_of("ours", "cost", units), "ceiling": run_of("ceiling", "cost", best)}
    )
    (ours,) = [line for line in table.splitlines() if line.startswith("| ours")]
    assert "3 s, 3 steps, 0 k tokens (1 of 1)" in ours
    assert "never reached" in ours  # 75 % of 0.9


def test_a_mean_of_one_has_no_interval():
    assert with_interval({"a": 0.5}) == "0.50"
    assert with_interval({}) == "–"
    assert with_interval({"a": 0.5, "b": 0.5}) == "0.50 (0.50–0.50)"


@pytest.fixture
def results(tmp_path):
    runs = single_runs(base=[0] * 8, ceiling=[4] * 8, ours=[2] * 8, bm25=[3] * 8, dense=[1] * 8)
    for arm, run in runs.items():
        made = Run(tmp_path / "results" / "single" / f"{arm}.json", run["about"])
        for key, unit in run["units"].items():
            made.keep(key, unit)
    (tmp_path / "page.md").write_text(
        "# Evaluation\n\n<!-- report: summary -->\nold\n<!-- end -->\n\nBy hand.\n\n<!-- report: experiments -->\n<!-- end -->\n\nMore by hand.\n"
    )
    return tmp_path


def test_the_page_says_first_where_ours_loses_and_keeps_what_is_written_by_hand(results):
    text = report(results / "results", results / "page.md", results / "figures")
    assert text == (results / "page.md").read_text()
    assert (
        "**Where ours loses to a baseline:** *One context at a time: recall* to bm25 (0.25)."
        in text
    )
    (row,) = [
        line for line in text.splitlines() if line.startswith("| One context at a time: recall")
    ]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[2:4] == ["**-0.25** (-0.25 to -0.25)", "**+0.25** (+0.25 to +0.25)"]  # bm25, dense
    assert "| One context at a time: QA-F1 |  | none | none |" in text
    assert (
        text.index("loses")
        < text.index("By hand.")
        < text.index("### One context")
        < text.index("More by hand.")
    )
    assert "old" not in text
    assert "| ours | 8 | 0.50 (0.50–0.50) | 0.50 (0.50–0.50) |" in text
    assert (results / "figures" / "single.svg").stat().st_size > 5000
    assert "](figures/single.svg)" in text
    assert report(results / "results", results / "page.md", results / "figures") == text


def test_a_page_without_a_block_and_a_folder_without_results_are_named(results):
    (results / "page.md").write_text("# Nothing\n")
    with pytest.raises(ConfigError, match="has no block"):
        report(results / "results", results / "page.md", results / "figures")
    assert not (results / "figures").exists()
    with pytest.raises(ConfigError, match="There is no"):
        report(results / "results", results / "missing.md", results / "figures")
    with pytest.raises(ConfigError, match="no results"):
        report(results / "empty", results / "page.md", results / "figures")


def test_arms_on_other_data_are_not_compared(results):
    other = single_runs(dense=[1])["dense"]
    made = Run(
        results / "results" / "single" / "other.json", other["about"] | {"data": "pwc.jsonl"}
    )
    made.keep("0/0", other["units"]["0/0"])
    with pytest.raises(ConfigError, match="cannot be compared"):
        report(results / "results", results / "page.md", results / "figures")


def test_a_page_elsewhere_finds_its_figures(results):
    text = report(results / "results", results / "page.md", results / "a" / "b")
    assert "](a/b/single.svg)" in text
