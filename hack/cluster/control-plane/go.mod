module klipstream.io/hack/cluster/control-plane

go 1.24.0
