"""Entries of the leaderboard: one evaluated method, packed so that anyone can check its numbers."""
