"""The audit log's lines, files and chain, for whoever writes and whoever checks them; ``docs/audit.md``."""
