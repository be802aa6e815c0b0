"""A convex-test server in a process of its own, and what its tables hold."""

from klipconvex.server import ConvexTestServer, functions_served

__all__ = ["ConvexTestServer", "functions_served"]
