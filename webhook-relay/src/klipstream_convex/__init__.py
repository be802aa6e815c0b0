"""The queue in an app's Convex database: rows that follow the cluster, and what apps ask of it."""
