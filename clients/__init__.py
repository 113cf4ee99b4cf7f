"""Gives people and machines of external sites what they connect with: a configuration as text, file or QR code."""
