-- This executor holds the claim. An index can't look up a coalesce(), so that rows are found by key
-- alone: the index of the claims that an executor holds is full of former claims, as long as an old
-- snapshot lasts.
AND coalesce(status = 'PENDING' AND executor_id = %(executor_id)s, false)
