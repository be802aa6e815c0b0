"""`kubectl analysis queue …`: one module per command."""
