-- The columns that a claim sets. A timeout runs from the first claim on.
SET status = 'PENDING',
    executor_id = %(executor_id)s,
    claim_number = workflow.claim_number + 1,
    started_at = coalesce(workflow.started_at, clock_timestamp()),
    deadline_at = coalesce(
        workflow.deadline_at,
        clock_timestamp() + CASE
            WHEN workflow.timeout > interval '1000 years' THEN interval '1000 years'
            ELSE workflow.timeout
        END
    )
