"""Receivers of webhooks, and somebody who writes statuses as the operator does: for the tests of the relay."""
