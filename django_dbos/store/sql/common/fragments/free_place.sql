-- The function has returned. A workflow that was handed over goes on, and keeps a place that is held
-- until its end; it was queued ahead, as one that was cancelled and resumed meanwhile was not.
place = CASE WHEN place = 2 AND status = 'ENQUEUED' AND queue_sequence < 0 THEN 2 ELSE 0 END
