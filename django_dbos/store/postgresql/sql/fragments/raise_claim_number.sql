-- least(): a row with the last claim number that there is keeps it, and must not fail the others;
-- the next claim fails for that row alone.
claim_number = least(claim_number, 2147483646) + 1,
