"""The self-contained HTML page."""

from reports.html.history import history_page

__all__ = ["history_page"]
