"""The data folder: one process at a time, and names that can be folders. Loads fast, so that the
page is up and a wrong folder is refused before the model is loaded."""

import hashlib
import os
import re
import unicodedata
from pathlib import Path

import filelock

from agent.errors import ConfigError, StoreError

DataLock = filelock.BaseFileLock


def check_user_id(user_id: str) -> str:
    """Return `user_id` if it can be one.

    Raises:
        ConfigError: If it is not 1-40 of a-z, 0-9, _ and -. It becomes the name of a folder.
    """
    if not re.fullmatch(r"[a-z0-9_-]{1,40}", user_id):
        shown = user_id if len(user_id) <= 40 else f"{user_id[:40]}… ({len(user_id)} characters)"
        raise ConfigError(
            f"{shown!r} is no user id: it names a folder, so it must be 1 to 40 of a-z, 0-9, _ and -."
        )
    return user_id


def user_id_of(display_name: str) -> str:
    """Return the id derived from a name as typed: "José" becomes "jose". A name that would lose
    letters, or be cut, gets a hash of itself, so that "Мария" and "Иван" are two.

    Raises:
        ConfigError: If nothing of the name is left, it is too long, or it looks like a path.
    """
    if re.search(r"[/\\]", display_name):
        raise ConfigError(f"{display_name[:60]!r} cannot be used as a name: take out the slashes.")
    plain = unicodedata.normalize("NFKD", display_name).encode("ascii", "ignore").decode()
    derived = re.sub(r"[^a-z0-9_-]+", "-", plain.lower()).strip("-")
    letters = [char for char in unicodedata.normalize("NFKD", display_name) if char.isalnum()]
    if len(display_name) <= 60 and (len(derived) > 40 or not all(map(str.isascii, letters))):
        whole = unicodedata.normalize("NFKC", display_name).casefold().strip()
        derived = f"{derived[:31]}-{hashlib.sha256(whole.encode()).hexdigest()[:8]}".strip("-")
    if not display_name.strip() or len(display_name) > 60 or not derived:
        shown = display_name if len(display_name) <= 60 else f"{display_name[:60]}…"
        raise ConfigError(
            f"{shown!r} cannot be used as a name: it needs 1 to 60 characters, a letter or digit among them."
        )
    return check_user_id(derived)


def lock_folder(data_dir: Path) -> filelock.BaseFileLock:
    """Take the data folder for this process.

    Raises:
        StoreError: If it cannot be made, or another process has it.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(data_dir / "lock", thread_local=False)
        lock.acquire(timeout=0)
        (data_dir / "lock.pid").write_text(str(os.getpid()))
    except filelock.Timeout:
        holder = (
            (data_dir / "lock.pid").read_text().strip()
            if (data_dir / "lock.pid").exists()
            else "unknown"
        )
        raise StoreError(
            f"{data_dir} is in use by process {holder}, and two would overwrite each other's adapters. "
            f"Close it, or give another --data-dir."
        ) from None
    except OSError as error:
        raise StoreError(
            f"The data folder {data_dir} cannot be written ({error.strerror}). Give --data-dir a folder that can."
        ) from error
    return lock


def check_host(host: str) -> None:
    """Refuse to open the page to other computers: anyone could pick anyone's name.

    Raises:
        ConfigError: If the host is not 127.0.0.1.
    """
    if host != "127.0.0.1":
        raise ConfigError(
            f"--host is {host!r}, but the page works only on 127.0.0.1: there are no accounts yet, and from another "
            f"computer anyone could pick anyone's name. Leave --host at 127.0.0.1."
        )
