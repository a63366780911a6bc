"""Chaos: the whole product on real servers while a seeded nemesis breaks things, and a checker that judges what happened."""
