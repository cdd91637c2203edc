"""The mean of several runs' weights."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file


def mean_of(folders: Sequence[Path], to: Path) -> None:
    """Write the mean of the weights of all folders, added in fp32; config and state are the last's.

    Raises:
        ValueError: the folders hold different tensors.
    """
    shutil.copytree(folders[-1], to, dirs_exist_ok=True)
    for path in sorted(to.glob("*.safetensors")):
        parts = [load_file(folder / path.name) for folder in folders]
        names = parts[-1].keys()
        if any(part.keys() != names for part in parts):
            raise ValueError(f"{path.name} holds other tensors in another run.")
        mean = {
            name: torch.stack([part[name].float() for part in parts]).mean(0).to(parts[-1][name].dtype)
            for name in names
        }  # fmt: skip
        save_file(mean, path, metadata={"format": "pt"})
    state = json.loads((to / "state.json").read_text(encoding="utf-8"))
    (to / "state.json").write_text(
        json.dumps(state | {"mean_of": len(folders)}) + "\n", encoding="utf-8"
    )
