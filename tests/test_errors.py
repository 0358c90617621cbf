import pickle

import pytest

from llmos.errors import (
    LlmosError,
    LogError,
    PolicyError,
    Problem,
    ProfileError,
    ScenarioError,
    did_you_mean,
)

ARRIVAL = Problem(
    message='"5 sec" is no duration',
    file="convoy.toml",
    line=12,
    key="tasks[2].arrival",
    allowed=("5 ms", "250 us"),
    hint="write the unit as ns, us, ms or s",
)


def test_a_problem_says_where_what_is_allowed_and_the_cure():
    assert str(ARRIVAL) == (
        'convoy.toml:12: tasks[2].arrival: "5 sec" is no duration\n'
        "    allowed: 5 ms, 250 us\n"
        "    write the unit as ns, us, ms or s"
    )


def test_a_scenario_error_shows_every_problem():
    error = ScenarioError([ARRIVAL, Problem("there are no tasks")])
    assert str(error) == f"{ARRIVAL}\nthere are no tasks"
    assert error.problems == (ARRIVAL, Problem("there are no tasks"))


def test_a_policy_error_names_the_file_the_contract_and_the_simulated_time():
    error = PolicyError(
        "pick returned 7",
        policy="mine",
        file="mine.py",
        contract="pick returns a ready task or None",
        time_ns=12_000_000,
    )
    assert str(error) == (
        "mine.py: policy mine: pick returned 7 (at 12,000,000 ns)\n"
        "    the contract: pick returns a ready task or None"
    )


def test_time_zero_is_a_time():
    assert str(PolicyError("no", time_ns=0)) == "no (at 0 ns)"


@pytest.mark.parametrize(
    "error",
    [
        LlmosError("no", file="a.toml", line=3, hint="do"),
        ScenarioError([ARRIVAL]),
        PolicyError("no", policy="mine", time_ns=5, contract="c", file="f.py", line=1, hint="h"),
        ProfileError("no", hint="calibrate"),
        LogError("no", file="run.jsonl", line=9),
    ],
    ids=lambda error: type(error).__name__,
)
def test_every_error_crosses_to_another_process(error):
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own bytes
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)
    assert copy.exit_code == 2


def test_a_near_name_is_offered_and_a_far_one_is_not():
    assert did_you_mean("MLQF", ["sjf", "mlfq"]) == 'did you mean "mlfq"?'
    assert did_you_mean("zzz", ["sjf", "mlfq"]) == ""
