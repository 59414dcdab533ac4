"""The archive: what outlives the place where it was made, such as the logs of pods."""
