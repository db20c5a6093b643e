-- Give the entries that number_entries has numbered their offsets: -1 becomes 0, and so on.
UPDATE dbos_stream_entry
SET "offset" = -1 - "offset"
WHERE workflow_id = %(workflow_id)s AND key = %(key)s AND "offset" < 0
