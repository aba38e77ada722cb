"""``URL_BASE/PROJECT_ops/metrics`` for Prometheus (docs/metrics.md, decision 0095).

Behind the ops password like all of the ops site, but open to the networks of ``<metrics_networks>`` in config.xml
(default: this machine's own loopback), for a scraper that can keep no password.
"""
from __future__ import annotations

import ipaddress
import time

from flask import Blueprint, Flask, Response, current_app, request

from boincdock.db import connect
from boincdock.lifecycle import metrics
from boincdock.web.site import site

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_CACHE = "boincdock.metrics"
blueprint = Blueprint("metrics", __name__)


def install(app: Flask) -> None:
    """Add the page to the ops site."""
    project = app.extensions["boincdock"].project
    app.extensions[_CACHE] = metrics.Cache(project, lambda: connect(project.config))
    app.register_blueprint(blueprint)


def is_open() -> bool:
    """Whether this request is one for the metrics, from a network that needs no password."""
    if request.endpoint != "metrics.show":
        return False
    try:
        peer = ipaddress.ip_address(request.remote_addr or "")
    except ValueError:
        return False
    for word in str(site().project.config.metrics_networks).replace(",", " ").split():
        try:
            if peer in ipaddress.ip_network(word, strict=False):
                return True
        except ValueError:
            site().log.warning("config.xml: metrics_networks: %r is no network", word)
    return False


@blueprint.route("/metrics")
def show() -> Response:
    """The numbers as they are now; those of the database are at most half a minute old."""
    began = time.perf_counter()
    text = metrics.page(site().project, current_app.extensions[_CACHE])
    took = metrics.Metric("boinc_metrics_seconds", "How long it took to make this page")
    took.add(time.perf_counter() - began)
    return Response(text + metrics.render([took]), content_type=CONTENT_TYPE)
