"""The plan file: stages, fleet settings, gates, rollback steps."""
