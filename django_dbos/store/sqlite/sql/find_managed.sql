-- Return a queue if it is managed: an executor can't claim a child in it without a place.
SELECT name FROM dbos_queue WHERE name = %(queue_name)s AND is_managed
