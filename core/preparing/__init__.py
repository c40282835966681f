"""Known downloads, checked and written as a folder that a recipe reads: one file per layout."""
