"""The sealed parameters of a job, and its sealed URL: only ever in the queue's answers and in this process' memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from klipstream_worker.errors import AnalysisError

LOOK_SECONDS = 0.5


class SealedParams:
    """What the queue's answers said of them. They come with the first one, and with those to a post that asks."""

    def __init__(self) -> None:
        self._wanted = False
        self._asked = False
        self._answered = threading.Event()
        self._params: Mapping[str, str] = {}
        self._video_url: str | None = None
        self._problem: str | None = None
        self._retryable = False

    def ask(self) -> None:
        """Have posts ask for them, unless they are there."""
        self._wanted = not self._answered.is_set()

    def asks(self) -> bool:
        """Whether the post that is being made asks for them; its answer is the next that is taken."""
        self._asked = self._wanted
        return self._asked

    def take(self, reply: Mapping[str, Any]) -> None:
        """Look at an answer. One to a post that asked, and that says nothing of them, says that there are none."""
        params, problem = reply.get("sealed_params"), reply.get("sealed_problem")
        if isinstance(params, dict):
            self._params = {str(name): str(value) for name, value in params.items()}
            url = reply.get("sealed_video_url")
            self._video_url = url if isinstance(url, str) else None
        elif isinstance(problem, str):
            self._problem, self._retryable = problem, reply.get("sealed_retryable") is True
        elif not self._asked:
            return
        self._wanted = False
        self._answered.set()

    @property
    def video_url(self) -> str | None:
        """The video's whole URL, None where it was not sealed, or as long as nothing is known."""
        return self._video_url

    def wait(self, seconds: float, check: Callable[[], None]) -> Mapping[str, str]:
        """The parameters, empty where nothing was sealed. `check` is called now and then and may raise.

        Raises AnalysisError: for good where they cannot be opened, and to be tried again where their key has not
        arrived yet or the queue does not say.
        """
        left = seconds
        while not self._answered.wait(min(LOOK_SECONDS, max(0.0, left))):
            check()
            left -= LOOK_SECONDS
            if left <= 0:
                raise AnalysisError(
                    f"the queue did not say within {seconds:g} s what the job's sealed parameters are",
                    error_code="SealedParamsMissing",
                )
        if self._problem is not None:
            raise AnalysisError(self._problem, error_code="SealedParamsNotOpened", retryable=self._retryable)
        return self._params
