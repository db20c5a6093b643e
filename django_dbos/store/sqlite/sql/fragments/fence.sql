-- The fence of a write: this executor holds the claim, and the deadline hasn't passed.
-- include: held_here
AND (workflow.deadline_at IS NULL OR workflow.deadline_at > %(now)s)
