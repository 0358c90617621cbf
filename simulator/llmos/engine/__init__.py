"""Time: the clock, its alarms and the random streams. The only package that imports simpy."""
