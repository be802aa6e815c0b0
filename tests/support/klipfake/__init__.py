"""Stand-ins for what a control-plane-only cluster lacks, and the operator as a process of a test's own."""
