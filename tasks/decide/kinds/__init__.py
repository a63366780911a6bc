"""Manifest kinds, one file each: how it is written, what it becomes, and how a record is written as one again."""
