-- Delete the answers to what the steps of a workflow from one on have asked. A form has a topic of
-- its own. A callback's message has the value that its row keeps or, where both are encrypted, is
-- the first since that was written.
DELETE FROM dbos_message
WHERE workflow_id = %(workflow_id)s
  AND message_id IN (
      SELECT (
          SELECT min(answer.message_id)
          FROM dbos_message AS answer
          WHERE answer.workflow_id = %(workflow_id)s
            AND answer.topic = asked.topic
            AND answer.created_at >= asked.created_at
            AND (
                asked.kind = 'form'
                OR answer.message = asked.answer
                OR answer.created_at >= asked.answered_at
            )
      )
      FROM dbos_inquiry AS asked
      WHERE asked.workflow_id = %(workflow_id)s
        AND asked.step_number >= %(step_number)s
        AND asked.answered_at IS NOT NULL
  )
