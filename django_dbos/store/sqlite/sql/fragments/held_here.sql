-- This executor holds the claim.
AND workflow.status = 'PENDING'
AND workflow.executor_id = %(executor_id)s
