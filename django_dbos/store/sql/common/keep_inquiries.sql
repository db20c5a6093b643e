-- Have the forms and callbacks of the steps that stay go on under the workflow's new token.
UPDATE dbos_inquiry
SET token = %(token)s
WHERE workflow_id = %(workflow_id)s AND token = %(old_token)s
