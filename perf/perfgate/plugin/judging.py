"""The judge of a session's times, for a comparison and for a refresh."""

from __future__ import annotations

from perfgate.baselines.timing_judge import Judge, JudgePolicy
from perfgate.plugin import child_args
from perfgate.plugin.command_line import destination
from perfgate.plugin.session import SessionContext
from perfgate.plugin.terminal_lines import Lines
from perfgate.records.fingerprint import Fingerprint


def judge_of(context: SessionContext, now: Fingerprint) -> Judge:
    """The judge of times that were measured as things are ``now``."""
    config, settings, display = context.config, context.settings, Lines(context.config, "judge")
    return Judge(
        policy=JudgePolicy(settings.tolerances_of, settings.tolerances.alpha, settings.judged_anyway),
        now=now,
        arguments=child_args.arguments(config, display.say),
        project=context.project,
        device=context.device,
        health_before=context.workbench.health,
        budget_s=config.getoption(destination("judge-budget")),
        clock=context.controller_clock,
        display=display,
    )
