"""Exercises: small problems that a seed poses, and their worked answers; one file per topic."""
