"""Reads a dashboard as Grafana's own model of it does, and tells what of it the model has no place for."""

import json
import sys

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard


def lost(given, known, at=""):
    if isinstance(given, dict):
        for key, value in given.items():
            yield from lost(value, known[key], f"{at}.{key}") if key in (known or {}) else [f"{at}.{key}"]
    elif isinstance(given, list):
        if len(given) != len(known or []):
            yield at
        for index, (value, other) in enumerate(zip(given, known or [])):
            yield from lost(value, other, f"{at}[{index}]")
    elif given != known:
        yield f"{at}: {given!r} became {known!r}"


register_default_plugins()
given = json.load(sys.stdin)
known = json.loads(JSONEncoder().encode(Dashboard.from_json(given)))
print("\n".join(lost(given, known)), end="")
