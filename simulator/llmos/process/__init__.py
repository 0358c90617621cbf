"""Processes: the PCB, programs and their system calls, the dispatcher, the cores."""
