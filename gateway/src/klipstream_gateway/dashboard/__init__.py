"""The dashboard: pages for people, from the same handlers that answer the REST API."""
