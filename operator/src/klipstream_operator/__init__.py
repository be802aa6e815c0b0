"""The operator: admits AnalysisJobs, starts one Kubernetes Job per attempt, keeps the truth in their status."""
