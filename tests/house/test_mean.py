"""The mean of the weights of runs."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from house.mean import mean_of


def make_run(folder, steps, **tensors):
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "state.json").write_text(json.dumps({"steps": steps}), encoding="utf-8")
    return folder


def test_the_mean_of_two_runs_counts_the_steps_of_the_last(tmp_path):
    first = make_run(tmp_path / "first", 3, weight=torch.tensor([1.0, -2.0]).bfloat16())
    second = make_run(tmp_path / "second", 7, weight=torch.tensor([2.0, 4.0]).bfloat16())
    mean_of([first, second], tmp_path / "mean")
    found = load_file(tmp_path / "mean" / "model.safetensors")["weight"]
    assert found.dtype == torch.bfloat16
    assert found.tolist() == [1.5, 1.0]
    state = json.loads((tmp_path / "mean" / "state.json").read_text(encoding="utf-8"))
    assert state == {"steps": 7, "mean_of": 2}


def test_the_last_run_may_weigh_more_and_otherwise_in_attention(tmp_path):
    tensors = {"mlp.weight": [0.0], "self_attn.weight": [0.0]}
    first = make_run(tmp_path / "first", 3, **{n: torch.tensor(v) for n, v in tensors.items()})
    second = make_run(tmp_path / "second", 7, **{n: torch.ones(1) for n in tensors})
    mean_of([first, second], tmp_path / "mean", share=0.75, attention=0.5)
    found = load_file(tmp_path / "mean" / "model.safetensors")
    assert found["mlp.weight"].tolist() == [0.75]
    assert found["self_attn.weight"].tolist() == [0.5]


def test_runs_of_different_models_have_no_mean(tmp_path):
    first = make_run(tmp_path / "first", 1, weight=torch.ones(2))
    second = make_run(tmp_path / "second", 1, bias=torch.ones(2))
    with pytest.raises(ValueError, match="other tensors"):
        mean_of([first, second], tmp_path / "mean")


def test_one_run_has_no_mean(tmp_path):
    only = make_run(tmp_path / "only", 1, weight=torch.ones(2))
    with pytest.raises(ValueError, match="at least two"):
        mean_of([only], tmp_path / "mean", share=0.5)
    assert not (tmp_path / "mean").exists()
