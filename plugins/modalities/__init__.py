"""First-party modalities."""
