"""First-party teachers."""
