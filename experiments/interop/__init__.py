"""Trained models beyond this program: an ASE calculator, and networks of mace-torch and nequip as ours."""
