//! One verification run: gathers agents, dispatches probes, compares, reports.
