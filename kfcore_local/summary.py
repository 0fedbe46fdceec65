"""The last lines of `kfcore local run`: for every job how it ended, how long it took and what it reached; of a failed
one, which replica failed and its last words.
"""

from __future__ import annotations

from collections.abc import Sequence

from kfcore_local.console import BOLD, CONDITION_COLORS, DIM, Console
from kfcore_local.progress import Failure, Outcome


def summarize(console: Console, outcomes: Sequence[Outcome]) -> None:
    for outcome in outcomes:
        console.say("")
        for failure in outcome.failures:
            console.say(f"{failure.replica} {_ended(failure)}", BOLD)
            if failure.last_lines:
                console.say("  its last lines:", DIM)
            for line in failure.last_lines:
                console.say(f"  {line}")
        console.say(_headline(outcome), CONDITION_COLORS[outcome.condition])


def _headline(outcome: Outcome) -> str:
    """`PyTorchJob digits: Succeeded in 9.8 s, accuracy=0.9805 loss=0.0649`"""
    text = f"{outcome.job.resource.kind} {outcome.job.name}: {outcome.condition} in {outcome.seconds:.1f} s"
    if outcome.metrics:
        text += ", " + " ".join(f"{name}={value}" for name, value in outcome.metrics.items())
    if outcome.restarts:
        text += f", {outcome.restarts} restart{'s' if outcome.restarts > 1 else ''}"
    return text


def _ended(failure: Failure) -> str:
    because = ": ".join(part for part in (failure.reason, failure.message) if part and part != "Error")
    if failure.exit_code is None:
        return f"did not start: {because}" if because else "failed"
    return f"exited with code {failure.exit_code}" + (f" ({because})" if because else "")
