"""What each kind of piece must be able to do: one Protocol and its records per file. No behaviour, no torch at import."""
