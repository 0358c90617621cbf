"""Shared things, cgroups and injections in a scenario: what is wrong with them is told, with its place."""

from typing import get_args

import pytest

from llmos.errors import ScenarioError
from llmos.process.signals import SIGNALS
from llmos.scenario.build import build
from llmos.scenario.load import load_text
from llmos.scenario.shared_tables import Signal

HEAD = 'question = "What is wrong?"\n[[task]]\nname = "A"\nburst = "1 ms"\n'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            '[[mutex]]\nname = "m"\n[[pipe]]\nname = "m"\n',
            r'8: pipe\[0\].name: the name "m" is taken by a mutex',
        ),
        (
            'group = "lab"\n[[cgroup]]\nname = "labs"\n',
            r'task\[0\].group: there is no cgroup "lab"\n.*"labs"',
        ),
        ('[[cgroup]]\nname = "a"\n[[cgroup]]\nname = "a"\n', "two cgroups"),
        ("affinity = [1]\n", "there is no core 1; the last one is 0"),
        ('[[inject]]\npause = "disk"\ntime = "1 ms"\n', 'there is no device "disk"'),
        ('[[inject]]\ninterrupt = "net"\ncpu = 3\n', "there is no core 3"),
        ('[[inject]]\nsignal = "KILL"\n', "belong together"),
        ('[[inject]]\ninterrupt = "net"\npause = "disk"\n', "one of interrupt, signal, pause"),
        ('[[inject]]\ninterrupt = "net"\ncount = 3\n', "how often"),
        ('[[mutex]]\nname = "m"\nprotocol = "ceiling"\n', "belong together"),
        ('[[pipe]]\nname = "p"\ncapacity = "0 B"\n', "passes nothing on"),
        ("[cpu]\nsteal = true\n", 'add queues = "per-core"'),
        ("[cpu]\ncount = 2\nspeeds = [1]\n", "1 speeds for 2 cores"),
        ("[cpu]\nspeeds = [0]\n", "0.001 to 1000"),
        ("[cpu]\npartition = {}\n", "a queue for each core"),
    ],
)
def test_a_mistake_is_told_when_the_file_is_read(text, says):
    with pytest.raises(ScenarioError, match=says):
        load_text(HEAD + text)


def test_a_signal_needs_a_task_that_is_there():
    with pytest.raises(ScenarioError, match='there is no task "B"'):
        build(load_text(HEAD + '[[inject]]\nsignal = "KILL"\ntask = "B"\n'))


def test_a_step_that_names_nothing_is_told():
    text = 'question = "?"\n[[mutex]]\nname = "door"\n[[task]]\nprogram = [{ lock = "dor" }]\n'
    with pytest.raises(ScenarioError, match=r'5: task\[0\].program\[0\].lock: there is no mutex "dor"'):
        load_text(text)


def test_a_scenario_knows_every_signal_that_the_kernel_knows():
    assert get_args(Signal) == SIGNALS
