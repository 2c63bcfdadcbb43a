"""Exponents of one curve: forms, floors, intervals, verdicts, and the record of all that."""
