"""The stack's config as validated types; every wrong value is refused before any resource is registered."""

from components.settings.errors import SettingsError
from components.settings.load import load, read
from components.settings.models import (
    AwsSite,
    GatewaySettings,
    GcpSite,
    HetznerSite,
    Settings,
    SiteSettings,
    SpokeSettings,
)

__all__ = [
    "AwsSite",
    "GatewaySettings",
    "GcpSite",
    "HetznerSite",
    "Settings",
    "SettingsError",
    "SiteSettings",
    "SpokeSettings",
    "load",
    "read",
]
