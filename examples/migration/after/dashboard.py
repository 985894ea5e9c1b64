"""What a dashboard asks for: the last hour, and the cost since the start."""

from __future__ import annotations

from typing import Any

from pytest_llmtelemetry import telemetry


HOUR_MS = 3_600_000


def get_metrics() -> dict[str, Any]:
    """The numbers as this application shows them; money in dollars, exact."""
    all_metrics = telemetry.get_metrics()
    dashboard = telemetry.dashboard_data(time_window=HOUR_MS)
    components = dashboard["components"]
    return {
        "summary": {
            "total_calls": components["chat"]["total_calls"],
            "avg_response_time": components["chat"]["avg_duration_ms"],
            "cache_hit_rate": components["cache"]["hit_rate"],
            "total_cost": components["costs"]["total_usd"],
            # Without it, a total that leaves some calls out would look like the whole.
            "unpriced_calls": components["costs"]["unpriced_calls"],
            "total_cost_since_start": all_metrics["components"]["costs"]["total_usd"],
        },
        "providers": components["providers"],
        "alerts": dashboard["alerts"],
    }
