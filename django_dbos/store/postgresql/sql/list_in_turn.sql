-- Return the workflows that claim_in_turn would claim.
WITH RECURSIVE
-- include: room_in_queue
-- include: choose_in_turn
listed AS (
    SELECT workflow_id, position FROM chosen
)
SELECT workflow_id FROM listed ORDER BY position
