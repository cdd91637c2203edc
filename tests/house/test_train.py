"""Training the house model: what a run keeps when something fails."""

import pytest
import torch

from house.train import Training


def test_a_run_that_fails_keeps_what_it_learned(writer, tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    monkeypatch.setattr("house.train.HELD_OUT_DOCUMENTS", 60)  # they take longest
    training = new_training(writer, tokenizer, tmp_path)

    def shards(first):
        yield training.held_out[:2]
        raise ValueError("a document that cannot be written")

    monkeypatch.setattr(training.shards, "from_number", shards)
    with pytest.raises(ValueError, match="cannot be written"):
        training.run()
    again = new_training(writer, tokenizer, tmp_path)
    again.resume()
    assert again.state["steps"] == 2
    parts = zip(training.model.parameters(), again.model.parameters(), strict=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in parts)


def new_training(writer, tokenizer, folder):
    return Training(
        folder, writer, writer, tokenizer, seed=0, total_tokens=1e9, total_seconds=1e9, decay=0.3,
        layers=1, width=64, hidden=64,
    )  # fmt: skip
