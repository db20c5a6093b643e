import threading
import pytest
import django_dbos as dbos
from django_dbos.executor import Executor
pytestmark = pytest.mark.django_db(transaction=True)

meets = {}
lock = threading.Lock()
broken = []

@dbos.workflow(name="exe.meet")
def meet(pair: int) -> int:
    with lock:
        b = meets.setdefault(pair, threading.Barrier(2))
    try:
        b.wait(3)
    except threading.BrokenBarrierError:
        broken.append(pair)
    return pair

import sys
def test_x():
    sys.setswitchinterval(1e-6)
    handles = meet.start_many([(n // 2,) for n in range(1000)])
    with Executor(concurrency=8) as e:
        for h in handles: h.get_result(timeout=60)
        print("threads", e.pool._threads)
    assert not broken
