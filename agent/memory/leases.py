"""Who consolidates a user at the moment.

A *lease* is for one worker and some time; each comes with a higher *fence*, and what is published
with an older fence changes nothing.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from agent.memory.database import Database
from agent.memory.tables import users


class Leases:
    """The leases, in the rows of the users.

    Threads: every method may be called from any thread.
    """

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database, self._now = database, now

    def take(self, user_id: str, worker: str, *, seconds: float) -> int | None:
        """Take the user for a consolidation and return the fence, None if another worker has it."""
        now = self._now()
        free = (
            (users.c.lease_until.is_(None))
            | (users.c.lease_until <= now)
            | (users.c.lease_by == worker)
        )
        with self._database.writing() as connection:
            row = connection.execute(
                users.update()
                .where(users.c.user_id == user_id, free)
                .values(
                    lease_by=worker,
                    lease_until=now + timedelta(seconds=seconds),
                    fence=users.c.fence + 1,
                )
                .returning(users.c.fence)
            ).one_or_none()
        return row.fence if row else None

    def release(self, user_id: str, fence: int) -> None:
        with self._database.writing() as connection:
            connection.execute(
                users.update()
                .where(users.c.user_id == user_id, users.c.fence == fence)
                .values(lease_by=None, lease_until=None)
            )

    def end_all(self) -> None:
        """End the leases of a process that was killed. Only for who holds the folder's lock."""
        with self._database.writing() as connection:
            connection.execute(users.update().values(lease_by=None, lease_until=None))
