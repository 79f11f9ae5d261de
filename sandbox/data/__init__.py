"""The records that an account starts with."""
