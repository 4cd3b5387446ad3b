"""`python -m prove`: what Atelier promises about load, faults and hostile input, measured, in one table."""
