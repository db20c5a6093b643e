-- The place of a workflow that runs stays taken, by its executor, until its function has returned
-- there (rule 58). Without a run the place is free.
place = CASE WHEN executor_id IS NULL THEN 0 ELSE place END,
executor_id = CASE WHEN place > 0 THEN executor_id END,
