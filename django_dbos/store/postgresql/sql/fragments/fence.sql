-- The fence of a write: this executor holds the claim, and the deadline hasn't passed.
-- include: held_here
AND (deadline_at IS NULL OR deadline_at > clock_timestamp())
