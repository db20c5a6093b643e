"""Operations of workflow code. Each takes one step number and leaves one checkpoint."""
