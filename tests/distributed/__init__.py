"""Networks on several processes."""
