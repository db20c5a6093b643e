-- Return the place of a run in the limits of its queue; nothing if its claim doesn't hold.
SELECT queue_name, partition_key, place
FROM dbos_workflow AS workflow
WHERE workflow_id = %(workflow_id)s
  AND claim_number = %(claim_number)s
  -- include: fence
