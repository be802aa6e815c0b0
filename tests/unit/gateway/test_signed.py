"""Which URLs let in whoever has them, and what may be shown of those."""

import pytest

from klipstream_gateway.problems import Problem, Refused
from klipstream_gateway.requests import Submission
from klipstream_gateway.signed import without_signature
from klipstream_gateway.submission import check
from klipstream_netguard import Rules

PLAIN = [
    "https://www.youtube.com/watch?v=dQw4w9WgXcQ&t=42s&list=PL1", "https://www.twitch.tv/videos/2472774741?t=1h2m3s",
    "https://example.com/v.mp4", "http://example.com:8080/a%20b.mp4?quality=1080&part=2", "https://example.com/token/v",
    "https://example.com/watch?author=me&st=10&monkey=1", "https://drive.example.com/v?authuser=0&id=7&token_type=x",
    "https://example.com/a,b;c~d/v.mp4?keyword=k&hashtag=h&url=https%3A%2F%2Fexample.org%2F%3Fv%3D1#t=42",
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
    "https://www.example.com/watch?v=dQw4&id=7&list=PL1&access_token=t": "https://www.example.com/watch?v=dQw4&id=7",
    "https://example.com/v.mp4?sign=s&t=1": "https://example.com/v.mp4",
    "https://example.com/v.mp4?verify=s": "https://example.com/v.mp4",
    "https://example.com/v.mp4?hash=s": "https://example.com/v.mp4",
    "https://example.com/v.mp4?h=s&e=1": "https://example.com/v.mp4",
    "https://example.com/v.mp4?auth_key=1-0-0-s": "https://example.com/v.mp4",
    "https://example.com/v.mp4?part=1;token=s": "https://example.com/v.mp4",
    "https://example.com/v?id=https%3A%2F%2Fb.example.com%2F%3FX-Amz-Signature%3Ds": "https://example.com/v",
    "https://cdn.example.com/exp=1~acl=/*~hmac=s/v.m3u8": "https://cdn.example.com/",
    "https://cdn.example.com/token=s/v.m3u8?v=1": "https://cdn.example.com/?v=1",
    "https://cdn.example.com/token%3Ds/v.m3u8": "https://cdn.example.com/",
    "https://example.com/watch;jsessionid=S?v=1": "https://example.com/?v=1",
    "https://example.com/v.mp4#access_token=s": "https://example.com/v.mp4",
}


@pytest.mark.parametrize("url", PLAIN)
def test_a_url_that_lets_nobody_in_is_left_as_it_is(url: str) -> None:
    assert without_signature(url) is None


@pytest.mark.parametrize("url", SIGNED)
def test_of_a_url_that_lets_in_only_the_way_to_the_video_is_shown(url: str) -> None:
    assert without_signature(url) == SIGNED[url]


@pytest.mark.parametrize("url", ["https://[broken/v.mp4?token=s", "https://example.com:port/v.mp4?token=s"])
def test_a_url_that_cannot_be_taken_apart_is_refused_and_not_stored_in_plain(url: str) -> None:
    with pytest.raises(Refused) as refused:
        check(Submission(video_url=url), Rules.of())
    assert refused.value.problem is Problem.INVALID
    assert [each.field for each in refused.value.errors or ()] == ["body.video_url"]
