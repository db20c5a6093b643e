-- The workflow waits no longer.
due_at = NULL,
wake_kind = NULL,
wake_workflow_id = NULL,
wake_name = NULL,
wake_offset = NULL,
