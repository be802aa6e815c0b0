"""Sealing of sensitive fields with a published public key (HPKE)."""
