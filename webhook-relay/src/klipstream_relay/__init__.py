"""The webhook relay: turns changes of AnalysisJobs into signed deliveries."""
