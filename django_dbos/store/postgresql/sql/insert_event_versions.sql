-- Add values of events whose versions are dealt.
-- include: into_event_versions
SELECT event.workflow_id, event.key, event.version, event.value, event.step_number,
       event.write_id, clock_timestamp()
FROM unnest(
    %(workflow_id)s::text[], %(key)s::text[], %(version)s::int[], %(value)s::text[],
    %(step_number)s::int[], %(write_id)s::uuid[]
) AS event (workflow_id, key, version, value, step_number, write_id)
