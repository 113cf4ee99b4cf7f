"""The gateway's service: takes the stack's roster, keeps the interface equal to it, and says how the peers are."""
