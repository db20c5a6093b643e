-- Delete workflows that are marked for deletion, with rows that they got after their parts were
-- deleted. Arrays: see claim_workflows.
WITH marked AS MATERIALIZED (
    SELECT workflow_id
    FROM dbos_workflow
    WHERE workflow_id = ANY(%(workflow_ids)s::text[]) AND finished_at = '-infinity'
    FOR UPDATE SKIP LOCKED
),
past_runs AS (
    DELETE FROM dbos_past_run WHERE workflow_id = ANY(ARRAY(SELECT workflow_id FROM marked))
),
checkpoints AS (
    DELETE FROM dbos_checkpoint WHERE workflow_id = ANY(ARRAY(SELECT workflow_id FROM marked))
),
messages AS (
    DELETE FROM dbos_message WHERE workflow_id = ANY(ARRAY(SELECT workflow_id FROM marked))
),
events AS (
    DELETE FROM dbos_event WHERE workflow_id = ANY(ARRAY(SELECT workflow_id FROM marked))
),
event_versions AS (
    DELETE FROM dbos_event_version WHERE workflow_id = ANY(ARRAY(SELECT workflow_id FROM marked))
),
entries AS (
    DELETE FROM dbos_stream_entry WHERE workflow_id = ANY(ARRAY(SELECT workflow_id FROM marked))
),
inquiries AS (
    DELETE FROM dbos_inquiry WHERE workflow_id = ANY(ARRAY(SELECT workflow_id FROM marked))
)
DELETE FROM dbos_workflow WHERE workflow_id = ANY(ARRAY(SELECT workflow_id FROM marked))
RETURNING workflow_id
