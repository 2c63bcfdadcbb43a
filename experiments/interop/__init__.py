"""Networks to and from elsewhere: weights of mace-torch and nequip, ASE's calculator."""
