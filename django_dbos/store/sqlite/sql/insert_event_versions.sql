-- Add values of events whose versions are dealt.
-- include: into_event_versions
VALUES (
    %(workflow_id)s, %(key)s, %(version)s, %(value)s, %(step_number)s, %(write_id)s, %(now)s
)
