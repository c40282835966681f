"""First-party schemes."""
