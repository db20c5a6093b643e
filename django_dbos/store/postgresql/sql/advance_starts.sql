-- Move the starts of queues into the past. For tests.
UPDATE dbos_queue_start SET last_at = last_at - make_interval(secs => %(seconds)s)
