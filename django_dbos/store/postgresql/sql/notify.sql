-- Notifications only, so their commit needs no fsync: a lost one costs a look on a timer.
SELECT set_config('synchronous_commit', 'off', true), pg_notify(channel, payload)
FROM unnest(%(channels)s::text[], %(payloads)s::text[]) AS hint (channel, payload)
