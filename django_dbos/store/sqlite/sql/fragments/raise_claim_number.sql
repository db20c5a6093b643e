-- Integers have 64 bits here: see PostgreSQL's for the last claim number that there is.
claim_number = claim_number + 1,
