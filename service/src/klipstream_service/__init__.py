"""What each long-running process has: settings from the environment, log lines, pages for kubelet and Prometheus."""

from klipstream_service.environment import BadSetting, Environment

__all__ = ["BadSetting", "Environment"]
