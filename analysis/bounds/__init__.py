"""What theory allows: bounds and laws, distances between frames, the dimension of the data."""
