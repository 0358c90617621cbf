"""Translation: from the addresses of a program to those of memory; one file per scheme, one contract."""
