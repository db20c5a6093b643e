-- Record starts of a queue, or of one of its partitions.
INSERT INTO dbos_queue_start (queue_name, partition_key, last_at, count)
VALUES (%(queue_name)s, %(partition_key)s, %(now)s, %(count)s)
