"""A pool machine's agent: joins, keeps its lease, and drains and leaves when its cloud takes the machine back."""
