"""Generations on disk: `<data-dir>/adapters/<user_id>/v<NNNN>/`.

    adapter_model.safetensors   LoRA weights, bf16, in peft's names
    adapter_config.json         peft's configuration, so that other tools can load the folder
    card.json                   base hash, recipe, turns covered, figures, hash of the weights

A folder is written beside its place, flushed, and renamed into it: it is whole or it is not there.
It is never changed afterwards. Which generation is live is a value in the database.
"""

import hashlib
import json
import os
import shutil
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from agent.errors import AdapterError
from agent.memory.folder import check_user_id

WEIGHTS, CONFIG, CARD = "adapter_model.safetensors", "adapter_config.json", "card.json"


def served_name(user_id: str, generation: int) -> str:
    """Return the name a generation is served under, `<user_id>@v<n>`."""
    return f"{user_id}@v{generation}"


class AdapterStore:
    """Publishes, lists, reads and deletes generations.

    Promises:
        1. A generation is immutable and published atomically.
        2. Damaged weights, or weights made for another base, are refused by name, never loaded.

    Threads: safe, because folders are only added, whole, and deleted by forgetting alone.
    Processes: one writer, held by the file lock of the data folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._sound: dict[tuple[Path, str], tuple] = {}
        """What `usable` has found whole, with the times of its files: they are large to read."""

    def generations(self, user_id: str) -> list[int]:
        """Return the numbers of the published generations, oldest first."""
        numbers = (path.name.removeprefix("v") for path in self._user_dir(user_id).glob("v*"))
        return sorted(int(number) for number in numbers if number.isdigit())

    def next_generation(self, user_id: str) -> int:
        return max(self.generations(user_id), default=0) + 1

    def publish(
        self, user_id: str, generation: int, tensors: dict[str, Tensor], *, config: dict, card: dict
    ) -> Path:
        """Write a generation and return its folder.

        Raises:
            AdapterError: If it is there already, or cannot be written (disk full).
        """
        place = self.path(user_id, generation)
        if place.exists():
            raise AdapterError(
                f"{place} is there already, and a generation is never changed. Publish the next number."
            )
        draft = place.with_name(f".draft-{place.name}")
        shutil.rmtree(draft, ignore_errors=True)
        try:
            draft.mkdir(parents=True)
            save_file(tensors, draft / WEIGHTS)
            weights = (draft / WEIGHTS).read_bytes()
            facts = {
                "weights_sha256": hashlib.sha256(weights).hexdigest(),
                "adapter_bytes": len(weights),
            }
            (draft / CONFIG).write_text(json.dumps(config, indent=2))
            (draft / CARD).write_text(json.dumps(card | facts, indent=2))
            for path in (*draft.iterdir(), draft):
                _flush(path)
            draft.rename(place)
            _flush(place.parent)
        except (OSError, SafetensorError) as error:  # a full disk is either, by who notices it
            shutil.rmtree(draft, ignore_errors=True)
            raise AdapterError(
                f"Generation {generation} of {user_id} cannot be written to {place.parent} "
                f"({getattr(error, 'strerror', None) or error}): "
                f"the live one stays. Make room on the disk."
            ) from error
        return place

    def card(self, user_id: str, generation: int) -> dict:
        """Return what is written about a generation.

        Raises:
            AdapterError: If the folder or its card is missing or damaged.
        """
        path = self.path(user_id, generation) / CARD
        try:
            card = json.loads(path.read_text())
            card["weights_sha256"], card["base_hash"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise AdapterError(
                f"Adapter {path.parent} is damaged: its card cannot be read. The generation before is used instead."
            ) from error
        return card

    def load(self, user_id: str, generation: int, *, base_hash: str) -> dict[str, Tensor]:
        """Return the tensors of a generation, checked.

        Raises:
            AdapterError: If it is missing, damaged, or was made for another base model.
        """
        path = self.path(user_id, generation)
        card = self.card(user_id, generation)
        if card["base_hash"] != base_hash:
            raise AdapterError(
                f"Adapter {path} was made for base model {card['base_hash'][:8]}…, but {base_hash[:8]}… is loaded; "
                f"its answers would be noise. {user_id} is answered without memory until the kept turns are learned again."
            )
        try:
            weights = (path / WEIGHTS).read_bytes()
            if hashlib.sha256(weights).hexdigest() != card["weights_sha256"]:
                raise ValueError("its weights are not those on the card")
            return load_file(path / WEIGHTS)
        except (OSError, ValueError, SafetensorError) as error:
            raise AdapterError(
                f"Adapter {path} is damaged ({error}). The generation before is used instead."
            ) from error

    def usable(self, user_id: str, generation: int, *, base_hash: str) -> tuple[int, str | None]:
        """Return the newest generation up to `generation` that can be loaded, 0 if there is none,
        and why it is not `generation` itself."""
        reason = None
        for number in range(generation, 0, -1):
            if number != generation and not self.path(user_id, number).exists():
                continue
            try:
                self._check(user_id, number, base_hash=base_hash)
            except AdapterError as error:
                reason = reason or str(error)
                continue
            return number, reason
        return 0, reason

    def _check(self, user_id: str, generation: int, *, base_hash: str) -> None:
        key = (self.path(user_id, generation), base_hash)
        stamp = tuple(
            (stat.st_mtime_ns, stat.st_size)
            for name in (WEIGHTS, CARD)
            if (path := key[0] / name).exists() and (stat := path.stat())
        )
        if self._sound.get(key) != stamp:
            self.load(user_id, generation, base_hash=base_hash)
            self._sound[key] = stamp

    def delete(self, user_id: str, generation: int) -> None:
        shutil.rmtree(self.path(user_id, generation), ignore_errors=True)

    def delete_after(self, user_id: str, generation: int) -> None:
        """Delete the later generations: they know what was taken back.

        Raises:
            AdapterError: One cannot be deleted.
        """
        for number in self.generations(user_id):
            if number > generation:
                _remove(self.path(user_id, number))

    def delete_all(self, user_id: str) -> int:
        """Delete every generation of a user; return how many there were.

        Raises:
            AdapterError: One cannot be deleted.
        """
        number = len(self.generations(user_id))
        if self._user_dir(user_id).exists():
            _remove(self._user_dir(user_id))
        return number

    def remove_drafts(self) -> None:
        """Delete what a killed process left half-written."""
        for draft in self.folder.glob("*/.draft-*"):
            shutil.rmtree(draft, ignore_errors=True)

    def path(self, user_id: str, generation: int) -> Path:
        return self._user_dir(user_id) / f"v{generation:04d}"

    def _user_dir(self, user_id: str) -> Path:
        return self.folder / check_user_id(user_id)


def _remove(folder: Path) -> None:
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise AdapterError(
            f"{folder} cannot be deleted ({error.strerror}). Make it writable, then try again."
        ) from error


def _flush(path: Path) -> None:
    if os.name == "nt":
        return  # Windows flushes no folder, and no file that is open for reading
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def adapter_config(
    rank: int, alpha: int, adapted: dict[str, list], *, base: str
) -> dict[str, object]:
    """Return what peft wants to know of a generation; `adapted` says where it is."""
    return {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": alpha,
        **adapted, "lora_dropout": 0.0, "base_model_name_or_path": base,
    }  # fmt: skip
