unnest(%(workflow_id)s::text[], %(input)s::text[], %(steps_before)s::int[])
    AS next (workflow_id, input, steps_before)
