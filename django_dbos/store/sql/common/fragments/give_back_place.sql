-- The function has returned. A place that is held until the workflow ends is kept.
place = CASE WHEN place = 2 THEN 2 ELSE 0 END,
executor_id = NULL,
