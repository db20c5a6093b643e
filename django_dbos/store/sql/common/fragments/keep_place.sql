-- The place of a workflow that runs stays taken, by its executor, until its function has returned
-- there (rule 58). Without a run the place is free, and a place that is lent is taken by nobody.
place = CASE WHEN executor_id IS NULL OR place NOT IN (1, 2) THEN 0 ELSE place END,
executor_id = CASE WHEN place IN (1, 2) THEN executor_id END,
