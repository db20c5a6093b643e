"""The store: one database's tables, in parts by subject.

| part | subject |
| --- | --- |
| `connecting` | connections, capabilities, statements that enqueue |
| `transactions` | the caller's transaction |
| `announcing` | wake-ups and notifications after a commit |
| `starting`, `messaging`, `control`, `queues` | what clients change, in their transactions |
| `queue_state` | how many workflows queues have, and what holds them up |
| `inquiries` | what workflows ask of people, and the answers |
| `histories`, `deletions` | forks, rewinds, retries and deletions, after `history_checks` |
| `claims`, `holding`, `lending` | what an executor takes, holds and gives back |
| `batches` | the writes of its runs |
| `liveness`, `timers`, `retention`, `schedules`, `scheduled` | its duties |

Reading is the business of `store.reader`, in parts of its own.

The parts are base classes, not objects of their own: a part is written on top of those that it
names as its bases, a call costs one attribute look-up as in any class, and a database overrides a
method where it differs without rebuilding the parts. `postgresql.store` and `sqlite.store` put
their overrides, in files by the same names, before these.
"""

from __future__ import annotations

from django_dbos.store.batches import Batches
from django_dbos.store.claims import Claims
from django_dbos.store.control import Control
from django_dbos.store.histories import Histories
from django_dbos.store.inquiries import Inquiries
from django_dbos.store.lending import Lending
from django_dbos.store.liveness import Liveness
from django_dbos.store.queue_state import QueueState
from django_dbos.store.queues import Queues
from django_dbos.store.retention import Retention
from django_dbos.store.scheduled import Scheduled
from django_dbos.store.schedules import Schedules
from django_dbos.store.timers import Timers


class Store(
    Inquiries,
    Histories,
    Scheduled,
    Schedules,
    Queues,
    QueueState,
    Lending,
    Claims,
    Batches,
    Control,
    Liveness,
    Timers,
    Retention,
):
    """Everything that the engine does with one database."""
