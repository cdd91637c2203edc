"""Generations on disk: whole or not there, and never taken for another model's."""

import os
import resource

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from agent.errors import AdapterError, ConfigError
from agent.memory.adapters import CARD, WEIGHTS, AdapterStore, adapter_config, served_name
from agent.model import LanguageModel
from agent.packing import Answered
from agent.slots import TRAINING

BASE_HASH = "b" * 64


@pytest.fixture
def store(tmp_path) -> AdapterStore:
    return AdapterStore(tmp_path / "adapters")


def publish(
    store: AdapterStore, generation: int, value: float = 1.0, *, base_hash: str = BASE_HASH
):
    tensors = {"a": torch.full((2, 3), value, dtype=torch.bfloat16)}
    return store.publish(
        "ada", generation, tensors, config={"r": 1}, card={"base_hash": base_hash, "recall": 0.9}
    )


def test_what_was_published_is_loaded(store):
    publish(store, 1, 0.5)
    assert torch.equal(
        store.load("ada", 1, base_hash=BASE_HASH)["a"],
        torch.full((2, 3), 0.5, dtype=torch.bfloat16),
    )
    card = store.card("ada", 1)
    assert card["recall"] == 0.9
    assert card["adapter_bytes"] == (store.path("ada", 1) / WEIGHTS).stat().st_size
    assert served_name("ada", 1) == "ada@v1"


def test_a_generation_is_never_changed(store):
    publish(store, 1)
    with pytest.raises(AdapterError, match="never changed"):
        publish(store, 1, 2.0)
    assert store.next_generation("ada") == 2


def test_a_draft_is_no_generation_and_is_swept_away(store):
    publish(store, 1)
    draft = store.folder / "ada" / ".draft-v0002"
    draft.mkdir()
    (draft / WEIGHTS).write_bytes(b"half")
    assert store.generations("ada") == [1]
    store.remove_drafts()
    assert not draft.exists()
    assert store.generations("ada") == [1]


@pytest.mark.parametrize("damage", ["weights", "weights cut", "card", "card gone", "weights gone"])
def test_a_damaged_generation_falls_back_to_the_one_before_and_says_so(store, damage):
    publish(store, 1, 1.0)
    path = publish(store, 2, 2.0)
    if damage == "weights":
        data = bytearray((path / WEIGHTS).read_bytes())
        data[-1] ^= 1
        (path / WEIGHTS).write_bytes(data)
    elif damage == "weights cut":
        (path / WEIGHTS).write_bytes((path / WEIGHTS).read_bytes()[:10])
    elif damage == "card":
        (path / CARD).write_text("{")
    elif damage == "card gone":
        (path / CARD).unlink()
    else:
        (path / WEIGHTS).unlink()
    with pytest.raises(AdapterError, match="damaged"):
        store.load("ada", 2, base_hash=BASE_HASH)
    number, reason = store.usable("ada", 2, base_hash=BASE_HASH)
    assert number == 1
    assert "v0002 is damaged" in reason


def test_an_adapter_of_another_base_is_refused_by_both_names(store):
    publish(store, 1, base_hash="a" * 64)
    with pytest.raises(
        AdapterError, match=r"made for base model aaaaaaaa…, but bbbbbbbb… is loaded"
    ):
        store.load("ada", 1, base_hash=BASE_HASH)
    assert store.usable("ada", 1, base_hash=BASE_HASH)[0] == 0


def test_a_missing_folder_leaves_no_memory_and_says_so(store):
    number, reason = store.usable("ada", 3, base_hash=BASE_HASH)
    assert number == 0
    assert "v0003" in reason
    assert store.usable("ada", 0, base_hash=BASE_HASH) == (0, None)


@pytest.mark.parametrize("limit", [100, 10_000])
def test_a_full_disk_leaves_nothing_half_written(store, limit):
    """The card, or already the weights, grow past what the system allows a file."""
    publish(store, 1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(AdapterError, match="Make room on the disk") as caught:
            store.publish(
                "ada", 2, {"a": torch.ones(1000)}, config={}, card={"base_hash": "b" * 20_000}
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "File too large" in str(caught.value)
    assert [path.name for path in (store.folder / "ada").iterdir()] == ["v0001"]


def test_what_was_found_whole_is_read_again_once_it_has_changed(store):
    path = publish(store, 1) / WEIGHTS
    assert store.usable("ada", 1, base_hash=BASE_HASH) == (1, None)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert store.usable("ada", 1, base_hash=BASE_HASH)[0] == 0
    assert store.usable("ada", 1, base_hash="other")[0] == 0


def test_deleting_a_user_leaves_the_others(store):
    publish(store, 1)
    store.publish("bob", 1, {"a": torch.ones(1)}, config={}, card={"base_hash": BASE_HASH})
    assert store.delete_all("ada") == 1
    assert store.delete_all("ada") == 0
    assert store.generations("bob") == [1]


def test_what_cannot_be_deleted_is_said_in_a_sentence(store, monkeypatch):
    publish(store, 1)
    publish(store, 2)

    def refuse(path, *arguments, **options):
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as locked:
        locked.setattr(os, "rmdir", refuse)  # as in a folder that belongs to somebody else
        locked.setattr(os, "unlink", refuse)
        for delete in (lambda: store.delete_after("ada", 1), lambda: store.delete_all("ada")):
            with pytest.raises(
                AdapterError, match=r"cannot be deleted \(Permission denied\). Make"
            ):
                delete()
    assert store.delete_all("ada") == 2


def test_a_user_cannot_name_a_folder_outside(store):
    with pytest.raises(ConfigError):
        store.path("../bob", 1)


def test_a_generation_is_an_adapter_of_the_upper_layers_that_peft_reads(store, tiny_folder):
    ours = LanguageModel.load(
        str(tiny_folder), quantize="none", num_slots=1, lora_rank=4, lora_alpha=8, compute=torch.float32
    )  # fmt: skip
    ours.slots.start_training(None, seed=0)
    for parameter in ours.slots.training_parameters():
        parameter.data.add_(0.1)
    tensors = ours.slots.trained_tensors()
    assert len(tensors) == 2 * 7
    assert all(".layers.1." in name for name in tensors)  # the upper one of two
    config = adapter_config(4, 8, ours.slots.adapted, base=str(tiny_folder))
    path = store.publish("ada", 1, tensors, config=config, card={"base_hash": BASE_HASH})
    with torch.no_grad():
        logits = ours.answer_logits([Answered((5, 6, 7), (8, 9))], slot=TRAINING)
        base = AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32)
        ids = torch.tensor([[5, 6, 7, 8, 9]])
        plain = base(ids).logits[0, 2:4]
        theirs = PeftModel.from_pretrained(base, path)(ids).logits[0, 2:4]
    torch.testing.assert_close(logits, theirs, atol=2e-2, rtol=2e-2)  # the file is in bf16
    assert (plain - theirs).abs().max() > 0.5
