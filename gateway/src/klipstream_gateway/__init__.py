"""The REST gateway: for those who have no kubeconfig."""
