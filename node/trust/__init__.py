"""Whom a machine believes: the stack's signing key and the stack's authority, as they are at present."""
