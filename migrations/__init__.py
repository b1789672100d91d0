"""The schema of record: every revision of it, in order. Installed as ``tuneledger.migrations``."""
