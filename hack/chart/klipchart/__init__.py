"""What is generated for the chart: its README, its dashboard, and the table of its rights."""
