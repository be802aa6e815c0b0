"""Records what a real kubelet, scheduler and Job controller write about worker pods."""
