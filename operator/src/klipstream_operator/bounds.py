"""Whether a job asks for more than its queue allows (pure)."""

from decimal import Decimal

from klipstream_api import AnalysisJob, AnalysisQueue

_SUFFIXES = {
    "": Decimal(1), "m": Decimal("0.001"), "k": Decimal(10) ** 3, "M": Decimal(10) ** 6, "G": Decimal(10) ** 9,
    "T": Decimal(10) ** 12, "Ki": Decimal(2) ** 10, "Mi": Decimal(2) ** 20, "Gi": Decimal(2) ** 30,
    "Ti": Decimal(2) ** 40,
}  # fmt: skip


def amount(quantity: str) -> Decimal:
    """The number that a Kubernetes quantity such as 500m or 32Gi stands for, as far as the CRD lets it in."""
    digits = quantity.rstrip("mkKMGTi")
    return Decimal(digits) * _SUFFIXES[quantity[len(digits) :]]


def excess(job: AnalysisJob, queue: AnalysisQueue) -> str | None:
    """What the job asks for beyond the queue's resourceBounds, in a sentence; None where it stays within them."""
    bounds = (queue.spec.resource_bounds.max if queue.spec.resource_bounds is not None else None) or {}
    asked = job.spec.resources
    if asked is None:
        return None
    beyond = [
        f"resources.{kind}.{name} is {quantity} and the queue {queue.metadata.name} allows {bounds[name]}"
        for kind, quantities in (("requests", asked.requests), ("limits", asked.limits))
        for name, quantity in (quantities or {}).items()
        if name in bounds and amount(quantity) > amount(bounds[name])
    ]
    return "; ".join(beyond) or None
