"""dbos_worker and dbos_skills."""
