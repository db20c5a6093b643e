-- Mark messages as consumed.
UPDATE dbos_message
SET consumed_at = %(now)s, consumed_step_number = %(step_number)s
WHERE message_id = %(message_id)s
