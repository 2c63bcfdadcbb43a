"""How often intervals hold: simulated tables and real nested learners."""
