"""Real layer files, and small ones for each corner, against what the original programs said of them."""
