"""First-party views."""
