"""`zoomin report`: one HTML file with everything that a run found, to be read anywhere, offline."""

from __future__ import annotations

from .make import ReportConfig, ReportResult, write_report

__all__ = ["ReportConfig", "ReportResult", "write_report"]
