"""What `convspec plan` says."""
