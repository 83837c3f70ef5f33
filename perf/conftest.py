"""What is special to this suite's report."""

from __future__ import annotations

import pytest
from perfgate import device_of
from perfgate.records.record import Record
from perfgate.report import Section
from suite_report import attention_report, encoder_report, experiment, linear_report, scoring_report

from fixtures.options import SETTINGS


def pytest_report_header(config: pytest.Config) -> str:
    """What the experiment runs on."""
    suite = config.stash[SETTINGS]
    new_tokens = suite.new_tokens_on(device_of(config))
    return (
        f"experiment: model {suite.model.name} ({suite.model.origin}), {len(suite.prompts.prompts)} inputs "
        f"({suite.prompts.name}), {new_tokens} new tokens each, {suite.batch_size} at a time"
    )


def pytest_perfgate_sections(config: pytest.Config, records: list[Record]) -> list[Section]:
    """The recommendation, the experiment's table, its claims and the long prompt; then what each part costs alone."""
    scored = scoring_report.sections(config.stash[SETTINGS].scoring.scores, records)  # first: it adds to the records
    found = experiment.sections(records, config.stash[SETTINGS].limits) + scored
    for report in (attention_report, linear_report, encoder_report):
        found += report.sections(records)
    return found


def pytest_perfgate_doctor(config: pytest.Config) -> list[Section]:
    """The schemes and attentions of this machine."""
    return experiment.doctor(device_of(config))


def pytest_perfgate_in_scope(config: pytest.Config, name: str, fields: dict[str, object]) -> bool:
    """Whether this run's model, prompts, device and choice of rows select a stored case."""
    suite, device = config.stash[SETTINGS], device_of(config)
    if name == "generation_served":
        if not suite.has_served(device):
            return False
        suite = suite.served
    chosen: dict[str, object] = {
        "model": suite.model.slug,
        "prompts": suite.prompts.name,
        "batch_size": suite.batch_size,
        "device": device.split(":")[0],
        "device_map": suite.device_map,
    }
    if name.startswith("generation") and name != "generation_long":
        chosen["new_tokens"] = suite.new_tokens_on(device)
    if any(fields.get(field, value) != value for field, value in chosen.items()):
        return False
    if suite.quantization is not None and fields.get("scheme") not in suite.quantization:
        return False
    return suite.attention is None or fields.get("attention") in suite.attention
