-- Append entries whose offsets are dealt.
-- include: into_entries
VALUES (
    %(workflow_id)s, %(key)s, %(offset)s, %(value)s, %(value)s IS NULL, %(step_number)s,
    %(write_id)s, %(now)s
)
