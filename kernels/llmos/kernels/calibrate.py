"""Measuring a machine: from timed operations to a profile.

- While other programs keep the CPU busy it waits for a moment; if they go on, the profile's notes say so.
- A grid of operations (`grids`), from decode to prefill sizes, is timed twice in shuffled rounds; the
  difference of the two is the noise floor, and held-out rows say how well the profile predicts.
- When a model is named, a part of the budget is for whole iterations of it (`insitu`).
- The last part of the budget is for the operating system's own costs.
- The profile tells its whole provenance, and how busy other programs kept the machine meanwhile.
- Operations too slow for the budget are left out, and the profile's notes say so.
- Ctrl-C keeps what was measured when it is enough for a profile; else nothing is written.
"""

import platform
import time
from collections.abc import Mapping
from contextlib import nullcontext
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec

from llmos.costs.holdout import holdout
from llmos.costs.profile import THIS_MACHINE, Profile, check_name, save_calibration
from llmos.errors import ProfileError
from llmos.kernels.device import open_device
from llmos.kernels.grids import grid
from llmos.kernels.insitu import InSitu, iterations_of, runnable, taught
from llmos.kernels.os_costs import SystemRounds, pretended_probes, real_probes
from llmos.kernels.rounds import Progress, Rounds

QUICK_S, THOROUGH_S = 17.0, 90.0  # Budgets, loading torch included; the last round may overrun them.
SYSTEM_PART, MOST_SYSTEM_S = 0.15, 10.0  # Of a budget, for the operating system; never more than that.
BUSY_PERCENT, PATIENCE_PART, PATIENCE_S = 20.0, 0.2, 15.0  # Of a budget, and never longer than that.
MODEL_PART, MODEL_S = 0.5, 90.0  # Of a budget, for iterations of a model; so much longer is the usual one.


def in_silence(fraction: float, doing: str) -> None:
    """Progress that nobody wants to hear."""


def calibrate(
    device: str = "cpu",
    *,
    quick: bool = False,
    budget_s: float | None = None,
    progress: Progress = in_silence,
    save: bool = True,
    name: str = "",
    model: str = "",
    dtype: str | None = None,
    weights: str | None = None,
) -> Profile:
    """Measure this machine and, unless `save` is off, keep the profile in the user's data folder.

    device: "cpu", "cuda" or "null"; budget_s: wall time, 1 to 3600 s; name: of the profile, else
    `this-machine-cpu` and the like; model: one of `SHAPES`, to be run in `dtype`, else in its own, its
    weights stored as `weights`. An interrupted calibration that has enough to go by ends as if its budget
    were spent. Raises ProfileError when the device is not there or nothing could be measured,
    KeyboardInterrupt when it was interrupted too early.
    """
    if not model and (dtype or weights):
        raise ProfileError(
            "a dtype and a way to store weights are for a model", hint="name one: --model tiny-20m"
        )
    shape = runnable(model, dtype, weights) if model else None
    if budget_s is None:
        budget_s = (QUICK_S if quick else THOROUGH_S) + (MODEL_S if shape else 0)
    if not 1 <= budget_s <= 3600:
        raise ProfileError(f"a calibration takes 1 to 3600 s, not {budget_s:g}")
    name = name or ("null-device" if device == "null" else f"{THIS_MACHINE}-{device}")
    check_name(name)
    busy = [] if device == "null" else wait_until_quiet(min(PATIENCE_PART * budget_s, PATIENCE_S), progress)
    deadline = time.monotonic() + budget_s
    system_s = min(SYSTEM_PART * budget_s, MOST_SYSTEM_S)
    model_s = MODEL_PART * budget_s if shape else 0.0
    grid_s = budget_s - system_s - model_s
    system = SystemRounds(_part(progress, 1 - system_s / budget_s, 1.0))
    inside = None
    progress(0.0, "opening the device")
    with open_device(device) as machine:
        pressures = [cpu_pressure()]
        rounds = Rounds(
            machine, deadline - system_s - model_s, grid_s, _part(progress, 0.0, grid_s / budget_s)
        )
        rounds.warm_up(grid(machine, quick=quick))
        launch_s, bandwidth = rounds.measure_limits()
        rounds.refine()
        uninterrupted = rounds.measure()
        if uninterrupted and shape:
            told = _part(progress, grid_s / budget_s, 1 - system_s / budget_s)
            until = max(deadline - system_s, time.monotonic() + model_s / 2)
            inside = InSitu(partial(iterations_of, shape, machine), until, told)
            uninterrupted = inside.measure()
        if uninterrupted:
            probes = nullcontext(pretended_probes()) if device == "null" else real_probes()
            system.measure(probes, max(deadline, time.monotonic() + system_s / 2))
        pressures.append(cpu_pressure())
        facts = machine.facts
    figures, missing = system.figures()
    profile = Profile(
        name=name,
        kind="measured",
        device=facts["device"],
        driver=facts["driver"],
        torch=facts["torch"],
        threads=int(facts["threads"]),
        host=_host(facts),
        clock=f"{machine.clock}; cold inputs; tenth percentile of the samples, for the usual speed",
        date=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        pressure_percent=max((known for known in pressures if known is not None), default=None),
        peak_flops=rounds.peaks(),
        links=rounds.links(),
        bandwidth_bytes_per_s=bandwidth,
        launch_s=launch_s,
        noise=rounds.noise(),
        noise_of=rounds.noise_of(),
        system=figures,
        notes=(*busy, *rounds.notes, *system.notes, *missing),
        rows=rounds.rows(),
    )
    if inside and shape:
        profile = taught(profile, inside, shape, model)
    profile = msgspec.structs.replace(profile, holdout=holdout(profile))
    if save:
        save_calibration(profile)
    progress(1.0, "done")
    return profile


def wait_until_quiet(patience_s: float, progress: Progress = in_silence) -> list[str]:
    """Wait while others keep the CPU busy, for up to `patience_s` seconds; a note if they still do then."""
    until = time.monotonic() + patience_s
    while (pressure := cpu_pressure() or 0.0) > BUSY_PERCENT:
        if time.monotonic() >= until:
            note = f"the machine was busy: in {pressure:.0f} % of the ten seconds before, something waited"
            return [f"{note} for a CPU; close what runs beside it and measure again for a surer profile"]
        progress(0.0, f"waiting for a quiet moment: pressure {pressure:.0f} %")
        time.sleep(1.0)
    return []


def cpu_pressure() -> float | None:
    """Percent of the last ten seconds in which something waited for a CPU, where the system tells."""
    try:
        line = Path("/proc/pressure/cpu").read_text(encoding="utf-8").splitlines()[0]
        return float(line.split("avg10=")[1].split()[0])
    except (OSError, ValueError, IndexError):
        return None


def _part(progress: Progress, begin: float, end: float) -> Progress:
    """Progress that goes from `begin` to `end` of the whole."""
    return lambda fraction, doing: progress(begin + (end - begin) * fraction, doing)


def _host(facts: Mapping[str, str]) -> dict[str, str]:
    """What else is worth knowing of the machine; nothing that tells whose it is."""
    told = {"device", "driver", "torch", "threads"}
    rest = {key: value for key, value in facts.items() if key not in told}
    system = f"{platform.system()} {platform.machine()}"
    return rest | {"system": system, "python": platform.python_version()}
