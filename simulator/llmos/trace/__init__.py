"""The event log, which is the truth about a run, and the folds that read it."""
