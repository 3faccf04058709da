"""The examples in Python, which check themselves."""

import os
import pathlib
import subprocess
import sys

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"


def run(script, *arguments, **environment):
    done = subprocess.run(
        [sys.executable, EXAMPLES / script, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **environment},
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_year_of_flights(forebay):
    places = [word for name in ("sqs", "amqp", "kafka") for word in (f"--{name}", forebay.at[name])]
    told = run("nycflights13/flights.py", "--flights", "30000", *places)
    assert "30,000 flights" in told and "WRONG" not in told


def test_the_tour_of_the_readme(forebay):
    run(
        "tour.py",
        SQS=f"http://{forebay.at['sqs']}",
        AMQP=f"amqp://guest:guest@{forebay.at['amqp']}/",
        KAFKA=forebay.at["kafka"],
    )
