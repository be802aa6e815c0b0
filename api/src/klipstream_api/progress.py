"""What a worker posts while it runs and what it is told in return (the worker contract)."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt

from klipstream_api.analysisjob import MAX_CPU_SECONDS, MAX_MEMORY_BYTES, MAX_WALL_SECONDS
from klipstream_api.meta import Time


class PostedResources(BaseModel):
    """What a stage of the attempt has taken so far."""

    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)

    stage: Annotated[str, Field(min_length=1, max_length=64)]
    """The stage, named as in the posts."""
    peak_memory_bytes: Annotated[NonNegativeInt, Field(le=MAX_MEMORY_BYTES)] | None = None
    """The most memory that was in use at once."""
    cpu_seconds: Annotated[NonNegativeFloat, Field(le=MAX_CPU_SECONDS, allow_inf_nan=False)] | None = None
    """CPU time, of child processes as well."""
    wall_seconds: Annotated[NonNegativeFloat, Field(le=MAX_WALL_SECONDS, allow_inf_nan=False)] | None = None
    """Time on the clock while it was the stage that was on."""


class ProgressPost(BaseModel):
    """Body of POST /v1/progress. The attempt is known from the token and is not part of the body."""

    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)

    percentage: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
    """Progress of the whole analysis, 0 to 100."""
    stage: Annotated[str, Field(min_length=1, max_length=64)]
    """Downloading, Transcribing, Analyzing, Finding Highlights, Completed, or a stage of the worker's own."""
    message: Annotated[str, Field(max_length=256)] = ""
    """A sentence for people."""
    estimated_completion_seconds: Annotated[float, Field(ge=0, le=31_536_000)] | None = None
    """The worker's own estimate of the seconds that remain."""
    checkpoint: Annotated[str, Field(max_length=1024)] | None = None
    """An opaque value that the next attempt receives as ANALYSIS_CHECKPOINT."""
    sealed: bool = False
    """Asks for the sealed parameters, which the reply to an attempt's first post holds anyway: it may get lost."""
    resources: Annotated[tuple[PostedResources, ...], Field(max_length=16)] = ()
    """What the attempt's stages have taken, all of them so far."""


class ProgressReply(BaseModel):
    """Answer to a progress post."""

    model_config = ConfigDict(frozen=True)

    desired: Literal["Continue", "Checkpoint", "Cancel"]
    min_interval_seconds: float
    deadline: Time | None = None
    sealed_params: dict[str, str] | None = Field(default=None, repr=False)
    """Parameters that were sealed, opened, in the reply to the first post of an attempt and to those that ask."""
    sealed_video_url: str | None = Field(default=None, repr=False)
    """The video's whole URL, where that was sealed; along with sealed_params."""
    sealed_problem: str | None = None
    """Why they cannot be opened: the attempt had better fail."""
    sealed_retryable: bool | None = None
    """Whether they may open for a later attempt, since the key has only not arrived yet."""
