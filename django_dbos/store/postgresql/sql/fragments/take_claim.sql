-- The columns that a claim sets. A timeout runs from the first claim on. A workflow without a version
-- is given the one that it will be run by, and keeps it (CORRECTNESS rule 98).
SET status = 'PENDING',
    executor_id = %(executor_id)s,
    claim_number = workflow.claim_number + 1,
    version = CASE
        WHEN workflow.version IS NULL OR workflow.version = ''
            THEN %(adopted)s::jsonb -> workflow.name ->> (workflow.version IS NULL)::int
        ELSE workflow.version
    END,
    started_at = coalesce(workflow.started_at, clock_timestamp()),
    deadline_at = coalesce(
        workflow.deadline_at,
        clock_timestamp() + CASE
            WHEN workflow.timeout > interval '1000 years' THEN interval '1000 years'
            ELSE workflow.timeout
        END
    )
