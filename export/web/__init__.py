"""The browser page: ``build_site`` puts exported files into a folder that any server can serve."""

from export.web.site import build_site

__all__ = ["build_site"]
