"""The suite's own part of the report: the experiment, the recommendation, and what each part costs alone."""
