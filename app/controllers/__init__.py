"""Loops that bring the world to what the store says, and record what they saw. They compare and act: a missed event
costs nothing, and a gateway killed between any two lines leaves nothing lost or doubled."""
