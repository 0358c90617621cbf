"""Real operations in torch, and what they cost on this machine.

- `matmul` runs the operations, `device` says what a machine is, `timers` times real ones,
  `calibrate` turns the timings into a profile, `drift` asks whether a profile still holds.
- Importing this package does not import torch; opening a real device does.
- The simulator never imports anything of this: it reads profiles.
"""
