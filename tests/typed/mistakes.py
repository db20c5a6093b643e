"""Typos and wrong types: exactly the marked lines must be refused."""

import django_dbos as dbos
from tests.typed.examples import Mailer, atotal, fetch, total

total(["1"])  # refused
total.start([1], discont=2)  # refused
total.start()  # refused
total.start_many([1, 2])  # refused
total.start_many("ab")  # refused
total.using(priorty=1)  # refused
total.using(priority="high")  # refused
total.using(on_existing="ignore")  # refused
total.using(on_duplicate=True)  # refused
total.using(timeout="1h")  # refused
total.using(attributes=["a"])  # refused
total.using(workflow_id=7).start([1])  # refused
text: str = total.start([1]).get_result()  # refused
options: dbos.StartOptions = {"queue": "slow"}  # refused
dbos.start_by_name(total)  # refused
dbos.start_by_name("shop.checkout", using={"run_at": 5})  # refused
dbos.send_many([{"workflow_id": "w"}])  # refused
dbos.send_many([{"workflow_id": "w", "message": 1, "topics": "a"}])  # refused
dbos.send_many([{"workflow_id": 7, "message": 1}])  # refused
dbos.send_many({"workflow_id": "w", "message": 1})  # refused
fetch(url=1)  # refused
Mailer().send(7)  # refused
Mailer().send()  # refused
number: int = atotal(1)  # refused
total.using(timeout=1).start([1])
