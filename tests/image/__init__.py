"""The container image, started as a container is: as nobody in particular, on a root that cannot be written to."""
