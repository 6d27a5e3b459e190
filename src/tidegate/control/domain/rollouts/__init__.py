"""Rollouts as pure functions: what is planned, what a verb does, what a report does, who is served."""
