"""What the clouds accept: rows of values, each table with its source."""
