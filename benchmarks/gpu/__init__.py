"""What has to be seen on a GPU: laws, costs and a real run, in the seconds that there are. See docs/gpu.md."""
