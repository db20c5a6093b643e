-- Move the starts of queues into the past. For tests.
UPDATE dbos_queue_start
SET last_at = strftime('%%Y-%%m-%%d %%H:%%M:%%f000', last_at, printf('-%%.6f seconds', %(seconds)s))
