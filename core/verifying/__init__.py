"""Verification away from the run that made the files: of a bundle by itself, and of a finished run again."""
