"""dbos_worker, dbos_queues, dbos_schedules and dbos_skills."""
