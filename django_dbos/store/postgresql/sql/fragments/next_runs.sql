unnest(%(workflow_id)s::text[], %(input)s::text[], %(version)s::text[], %(steps_before)s::int[])
    AS next (workflow_id, input, version, steps_before)
