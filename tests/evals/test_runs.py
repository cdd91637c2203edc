"""Runs are kept unit by unit, go on, and say how they were made."""

import json

import pytest

from agent.errors import ConfigError
from evals.runs import Run, read_run, work_through

ABOUT = {"experiment": "single", "arm": "base", "base_hash": "abc"}


def test_a_run_that_was_interrupted_goes_on(tmp_path):
    path, done = tmp_path / "single" / "base.json", []

    def unit(key, tick):
        tick()
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(key)
        return {"of": key}

    keys = ["0/0", "1/0", "0/1"]
    with pytest.raises(KeyboardInterrupt):
        work_through(Run(path, ABOUT), keys, unit, ticks=1, estimate=1, hours=1)
    assert list(read_run(path)["units"]) == ["0/0", "1/0"]
    again = Run(path, ABOUT)
    assert again.left(keys) == ["0/1"]
    work_through(again, keys, lambda key, tick: {"of": key}, ticks=1, estimate=1, hours=1)
    held = read_run(path)
    assert {key: unit["of"] for key, unit in held["units"].items()} == {key: key for key in keys}
    assert len(held["made"]) == 2  # a session each
    for one in held["made"]:
        assert {"command", "commit", "hardware", "versions", "began"} == set(one)
    json.loads(path.read_text())


def test_no_unit_is_begun_that_would_end_after_the_hours_of_all_sessions(tmp_path, capsys):
    run, done = Run(tmp_path / "base.json", ABOUT), []
    work_through(run, ["0/0", "1/0"], lambda key, tick: {}, ticks=1, estimate=4000, hours=1)
    out = capsys.readouterr().out
    assert run.units == {}
    assert "about 2.2 hours" in out
    assert "1 hours are too few for 2 of 2 units" in out
    run.keep("0/0", {"spent": 1900.0})
    assert run.hours == pytest.approx(1900 / 3600)
    work_through(
        run, ["0/0", "1/0"], lambda key, tick: done.append(key) or {}, ticks=1, estimate=1, hours=1
    )
    assert done == []  # one took 1,900 seconds, the next would too
    work_through(
        run, ["0/0", "1/0"], lambda key, tick: done.append(key) or {}, ticks=1, estimate=1, hours=2
    )
    assert done == ["1/0"]


def test_results_of_another_model_are_not_mixed(tmp_path):
    path = tmp_path / "base.json"
    Run(path, ABOUT).keep("0/0", {})
    with pytest.raises(ConfigError, match="base_hash = abc, now it is xyz"):
        Run(path, ABOUT | {"base_hash": "xyz"})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"about": {}, "made": {}, "units": {}}',
        '{"about": {"arm": "x"}, "made": [], "units": {}}',
    ],
)
def test_a_damaged_file_is_named(tmp_path, text):
    path = tmp_path / "base.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match="no run of this program"):
        Run(path, ABOUT)
