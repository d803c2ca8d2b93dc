"""The estimator behind HTTP: a page to try it in a browser, and the same estimates for other programs."""

from graphhand.web.server import make_app

__all__ = ["make_app"]
