"""Which URLs let in whoever has them, and what may be shown of those."""

import pytest

from klipstream_gateway.signed import without_signature

PLAIN = [
    "https://www.youtube.com/watch?v=dQw4w9WgXcQ&t=42s&list=PL1", "https://www.twitch.tv/videos/2472774741?t=1h2m3s",
    "https://example.com/v.mp4", "http://example.com:8080/a%20b.mp4?quality=1080&part=2", "https://example.com/token/v",
    "https://[broken/v.mp4",
]  # fmt: skip
SIGNED = {
    "https://b.s3.amazonaws.com/v.mp4?X-Amz-Algorithm=a&X-Amz-Credential=c&X-Amz-Signature=s": "https://b.s3.amazonaws.com/v.mp4",
    "https://b.s3.amazonaws.com/v.mp4?AWSAccessKeyId=a&Expires=1&Signature=s": "https://b.s3.amazonaws.com/v.mp4",
    "https://storage.googleapis.com/b/v?GoogleAccessId=a&X-Goog-Signature=s": "https://storage.googleapis.com/b/v",
    "https://a.blob.core.windows.net/c/v.mp4?sv=1&se=2&sig=s": "https://a.blob.core.windows.net/c/v.mp4",
    "https://d1.cloudfront.net/v.mp4?Policy=p&Key-Pair-Id=k": "https://d1.cloudfront.net/v.mp4",
    "https://cdn.example.com/v.m3u8?hdnts=exp=1~hmac=h": "https://cdn.example.com/v.m3u8",
    "https://vimeo.example.com/v?access_token=t": "https://vimeo.example.com/v",
    "https://user:word@example.com:8443/v.mp4?part=1#t": "https://example.com:8443/v.mp4",
    "https://example.com/v?TOKEN": "https://example.com/v",
}


@pytest.mark.parametrize("url", PLAIN)
def test_a_url_that_lets_nobody_in_is_left_as_it_is(url: str) -> None:
    assert without_signature(url) is None


@pytest.mark.parametrize("url", SIGNED)
def test_of_a_url_that_lets_in_neither_query_nor_password_is_shown(url: str) -> None:
    assert without_signature(url) == SIGNED[url]
