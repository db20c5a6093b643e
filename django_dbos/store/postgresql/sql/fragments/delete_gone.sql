-- Delete the workflows in `gone` with all their rows. Arrays: see claim_workflows.
past_runs AS (
    DELETE FROM dbos_past_run WHERE workflow_id = ANY(ARRAY(SELECT workflow_id FROM gone))
),
checkpoints AS (
    DELETE FROM dbos_checkpoint WHERE workflow_id = ANY(ARRAY(SELECT workflow_id FROM gone))
),
messages AS (
    DELETE FROM dbos_message WHERE workflow_id = ANY(ARRAY(SELECT workflow_id FROM gone))
),
events AS (
    DELETE FROM dbos_event WHERE workflow_id = ANY(ARRAY(SELECT workflow_id FROM gone))
),
event_versions AS (
    DELETE FROM dbos_event_version WHERE workflow_id = ANY(ARRAY(SELECT workflow_id FROM gone))
),
entries AS (
    DELETE FROM dbos_stream_entry WHERE workflow_id = ANY(ARRAY(SELECT workflow_id FROM gone))
),
inquiries AS (
    DELETE FROM dbos_inquiry WHERE workflow_id = ANY(ARRAY(SELECT workflow_id FROM gone))
),
wakes AS (
    DELETE FROM dbos_wake WHERE workflow_id = ANY(ARRAY(SELECT workflow_id FROM gone))
)
DELETE FROM dbos_workflow WHERE workflow_id = ANY(ARRAY(SELECT workflow_id FROM gone))
RETURNING workflow_id
