-- Notify only, so that the commit needs no fsync: a lost notification costs the wait for the next
-- poll.
SELECT set_config('synchronous_commit', 'off', true), pg_notify(channel, payload)
FROM unnest(%(channels)s::text[], %(payloads)s::text[]) AS hint (channel, payload)
