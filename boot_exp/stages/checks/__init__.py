"""What `boot-exp check` does and says: a dry run, and what a run costs and holds in memory."""
