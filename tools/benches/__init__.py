"""What `make bench` measures: accuracy, speed, and the whole device under network faults."""
