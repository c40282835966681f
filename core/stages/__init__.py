"""One file per stage; a stage reads the run folder and the pieces, never another stage's objects."""
