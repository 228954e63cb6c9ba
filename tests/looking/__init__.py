"""What is looked at through a trained network: predictions, features, what is like what, and the pictures of them."""
