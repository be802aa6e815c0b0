"""Where the gateway is, and the key for it, from the environment."""

import os


def address(base_url: str | None) -> str:
    """The one that was given, else $KLIPSTREAM_URL. Raises ValueError."""
    found = base_url or os.environ.get("KLIPSTREAM_URL", "")
    if not found.startswith(("http://", "https://")):
        raise ValueError(
            "where is the gateway? Give base_url, or set KLIPSTREAM_URL, such as https://queue.example.com"
        )
    return found.rstrip("/")


def headers(api_key: str | None) -> dict[str, str]:
    """With the key that was given, else $KLIPSTREAM_API_KEY; without one only public operations work."""
    key = api_key or os.environ.get("KLIPSTREAM_API_KEY")
    common = {"User-Agent": "klipstream-python", "Accept": "application/json"}
    return common | ({"Authorization": f"Bearer {key}"} if key else {})
