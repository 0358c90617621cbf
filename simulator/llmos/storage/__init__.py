"""Storage: devices that serve requests."""
