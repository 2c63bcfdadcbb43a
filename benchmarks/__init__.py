"""How fast it is (`make bench`), and the scripts that print the tables and pictures of docs/."""
