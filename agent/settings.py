"""Every setting: its default, and where the default comes from.

Read from arguments, then `IMPRINT_*` variables, then `.env`. Settings stop at `MovieAgent`: the
parts below take plain values.
"""

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from agent.errors import ConfigError, ModelError


class Settings(BaseSettings):
    """All settings. A wrong value is a `ConfigError` that names it (`Settings.read`)."""

    model_config = SettingsConfigDict(
        env_prefix="IMPRINT_",
        env_file=".env",
        extra="ignore",
        frozen=True,
        use_attribute_docstrings=True,
    )

    # -- where and with what ---------------------------------------------------------

    model: str = "house"
    """house, a folder, or a hub id."""

    quantize: Literal["nf4", "none"] = "nf4"
    """4-bit NF4 (QLoRA, arXiv:2305.14314), on CPU as on GPU; or none."""

    data_dir: Path = Path("memory_logs")
    """Home of turns and adapters."""

    host: str = "127.0.0.1"
    """Only this computer can open the page, until there are accounts."""

    port: int = Field(7860, ge=0, le=65535)
    """TCP port of the page; 0 takes a free one."""

    # -- when to consolidate (docs/method.md, rules 1, 2, 10) -----------------------------

    idle_seconds: float = Field(60.0, ge=0)
    """Quiet time after which pending turns are learned. Chosen, not measured."""

    max_wait_seconds: float = Field(600.0, gt=0)
    """Longest a pending turn waits while its user keeps talking. Chosen, not measured."""

    max_context_tokens: int = Field(768, ge=64)
    """Longest context x the teacher sees; longer stretches are learned in slices. Chosen, not measured."""

    max_message_tokens: int = Field(512, ge=16)
    """Longest message; the rest is cut off, and the user is told. Chosen, not measured."""

    ask_above_seconds: float = Field(300.0, gt=0)
    """A consolidation estimated to take longer asks first. Chosen, not measured."""

    # -- replies -------------------------------------------------------------------------

    max_reply_tokens: int = Field(96, ge=8)
    """Longest reply. Chosen, not measured."""

    num_slots: int = Field(8, ge=2)
    """Generations held ready for replies; a consolidation uses one. Chosen, not measured."""

    # -- target sentences (docs/method.md, rules 3-6) -----------------------------------------

    question_rounds: int = Field(3, ge=1)
    """Times each message is asked about, in each kind. Measured: docs/lab_book.md."""

    question_temperature: float = Field(0.7, gt=0)
    """Sampling temperature of the questions. Chosen, not measured."""

    use_question_bank: bool = True
    """Learn the general questions about a person too; if not, they only find what was never told."""

    encoder: str = "bundled"
    """Sentence encoder that drops near-duplicate questions: bundled, a folder, or a hub id."""

    # -- training -----------------------------------------------------------------------------

    lora_rank: int = Field(16, ge=1)
    """Rank of the update matrices. Chosen, not measured."""

    lora_alpha: int = Field(32, ge=1)
    """Scale of the update is alpha / rank = 2. Chosen, not measured."""

    learning_rate: float = Field(2.5e-3, gt=0, lt=1)
    """Peak rate of AdamW. Measured: docs/lab_book.md."""

    max_steps: int = Field(72, ge=1)
    """Steps of one training, if it does not stop before. Measured: docs/lab_book.md."""

    batch_size: int = Field(16, ge=8)
    """Target sentences in a step. Measured: docs/lab_book.md."""

    teacher_top_k: int = Field(16, ge=1)
    """Teacher probabilities kept per token (Doc-to-LoRA's baseline keeps 16), the rest as one."""

    seed: int = 0
    """Of sampling, of the first LoRA weights, and of the order of batches."""

    # -- the gate (docs/method.md, rule 7) ---------------------------------------------------------

    min_recall_share: float = Field(0.8, ge=0, le=1)
    """Recall on new probes, as a share of the teacher's agreement. Chosen, not measured."""

    max_earlier_loss: float = Field(0.05, ge=0, le=1)
    """Allowed loss of recall on earlier probes. Chosen, not measured."""

    min_abstention: float = Field(0.8, ge=0, le=1)
    """Share of never-told questions that must be answered with "you have not told me". Chosen, not measured."""

    max_damage_nats: float = Field(0.05, ge=0)
    """Allowed KL on unrelated prompts, per token. Chosen, not measured."""

    def recipe(self) -> dict[str, object]:
        """Return what decides how a generation turns out, for its card."""
        elsewhere = {
            "data_dir", "host", "port", "idle_seconds", "max_wait_seconds", "ask_above_seconds",
            "max_reply_tokens", "num_slots",
        }  # fmt: skip
        return self.model_dump(mode="json", exclude=elsewhere)

    @classmethod
    def read(cls, **values: object) -> "Settings":
        """Return the settings; values that are None are left to the environment and the defaults.

        Raises:
            ConfigError: If a value is wrong; the message names it.
        """
        try:
            return cls(**{name: value for name, value in values.items() if value is not None})
        except UnicodeDecodeError as error:
            raise ConfigError(
                "The file .env is no UTF-8 text. Save it as UTF-8, or remove it."
            ) from error
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(map(str, first["loc"]))
            raise ConfigError(
                f"{name} is {first['input']!r}: {first['msg'].lower()}. "
                f"Correct the flag, or the variable IMPRINT_{name.upper()}."
            ) from error


def model_folder(name: str) -> str | None:
    """Return the folder that a --model names, None for "house" and hub ids; before seconds of imports.

    Raises:
        ModelError: If it is a folder's name, and config.json is missing there.
    """
    folder = os.path.expanduser(name)
    if name == "house" or not (name.startswith((".", "/", "~")) or os.path.isdir(folder)):
        return None
    if not os.path.isfile(os.path.join(folder, "config.json")):
        raise ModelError(
            f"No model in {Path(folder)}: config.json is missing. Pass --model house, a folder that has one, or a hub id."
        )
    return folder
