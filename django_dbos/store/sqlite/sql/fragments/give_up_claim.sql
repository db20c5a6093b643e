-- least(): a row with the last claim number that there is keeps it, and must not fail the others;
-- the next claim fails for that row alone.
claim_number = claim_number + 1,
executor_id = NULL,
