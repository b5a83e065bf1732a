"""The self-contained HTML pages."""

from reports.html.history import history_page

__all__ = ["history_page"]
