"""`kubectl analysis dlq …`: one module per command."""
